export interface FormulaOptions {
  readonly version: string;
  /** The folder on the web that the archives are in. */
  readonly url: string;
  /** SHA-256 of each file of the release, in hexadecimal. */
  readonly sums: ReadonlyMap<string, string>;
}

/** A Homebrew formula for those of the four targets that the release has. */
export function formulaOf({ version, url, sums }: FormulaOptions): string {
  const source = (name: string): string => {
    const file = `picoclaw-${name}.tar.gz`;
    const sum = sums.get(file);
    if (sum === undefined) return "";
    const condition = name.endsWith("arm64") ? "on_arm" : "on_intel";
    return `    ${condition} do
      url "${url}/${file}"
      sha256 "${sum}"
    end
`;
  };
  const system = (name: string, targets: readonly string[]): string => {
    const sources = targets.map(source).join("");
    return sources === "" ? "" : `  ${name} do\n${sources}  end\n\n`;
  };
  return `class Picoclaw < Formula
  desc "AI agent behind an MQTT topic"
  homepage "${url}"
  version "${version}"
  license "MIT"

${system("on_macos", ["darwin-arm64", "darwin-x64"])}${system("on_linux", ["linux-arm64", "linux-x64"])}  def install
    bin.install "picoclaw"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/picoclaw --version")
  end
end
`;
}
