import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { lineOf, readableOf } from "../../../../src/agent/tools/web/html-text.ts";
import { tokensOf } from "../../../../src/agent/tools/web/html-text.ts";

const base = new URL("https://site.test/a/b");
const plain = async (html: string, most = 50_000): Promise<string> =>
  (await readableOf(html, { format: "plaintext", base, most })).text;
const markdown = async (html: string): Promise<string> =>
  (await readableOf(html, { format: "markdown", base, most: 50_000 })).text;

describe("a page as plain text", () => {
  for (const [what, html, text] of [
    ["paragraphs", "<p>one\n two<p>three</p>four", "one two\n\nthree\n\nfour"],
    ["words in markup", "a<b>b</b> <i>c</i>d <span> e</span>", "ab cd e"],
    ["line breaks", "a<br>b<br/>c", "a\nb\nc"],
    ["headings", "<h1>One</h1><h2> Two</h2>x", "One\n\nTwo\n\nx"],
    ["lists", "<ul><li>a<li>b</ul><ol><li>c</li><li><p>d</p></li></ol>", "- a\n- b\n\n1. c\n2. d"],
    ["lists in lists", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"],
    ["tables", "<table><tr><th>a</th><th>b</th></tr><tr><td>1<td>2</tr></table>", "a | b\n1 | 2"],
    ["code", "<p>x</p><pre>\n a\n   <b>b</b>\n</pre>y", "x\n\n a\n   b\n\ny"],
    [
      "entities",
      "&lt;&#x41;&#66;&copy;&nbsp;&mdash;&#146;&bogus;&amp;amp; &#xD800;&#0;",
      "<AB© —’&bogus;&amp; ��",
    ],
    ["pictures with words", '<img src=x alt="A cat"><img src=y>', "[image: A cat]"],
    ["what scripts and styles hold", "a<script>if (1<2) '</p>'</script><style>p{}</style>b", "ab"],
    ["comments", "a<!-- <p>no</p> --><!doctype html><?php no ?><!-->b", "ab"],
    ["what is around", "<nav>n<nav>m</nav>n</nav>a<footer>f</footer><aside>x</aside>", "a"],
    ["what is hidden", "a<div hidden>no<div>no</div></div><b style='display: none'>no</b>b", "ab"],
    [
      "what its own style hides",
      [
        "visibility:hidden",
        "color:red; opacity: 0",
        "font-size:0",
        "font-size: 0px !important",
        "FONT-SIZE:.0em;",
        "position:absolute;left:-9999px",
        "text-indent:-100%",
        "transform: scale(0)",
        "clip-path: inset(50%)",
      ]
        .map((style) => `<span style="${style}">no</span>`)
        .join(""),
      "",
    ],
    [
      "what looks like that and is not",
      "<b style='opacity:0.9'>a</b><b style='font-size:0.8em'>b</b><b style='left:-20px'>c</b><b style='max-opacity:0'>d</b>",
      "abcd",
    ],
    [
      "hidden paragraphs, which nobody needs to close",
      "<p hidden>no<b>no</b><p>a<p style='font-size:0'>no</p>b<div><p hidden>no</div>c<ul><li>d<p hidden>no<li>e</ul>",
      "a\n\nb\n\nc\n\n- d\n- e",
    ],
    ["what is not closed", "<p>a <b>b<p>c", "a b\n\nc"],
    ["odd signs", "1 < 2 && 3 > 2 <3 </ > x", "1 < 2 && 3 > 2 <3 x"],
    ["an endless tag", `a<b ${"x ".repeat(30_000)}`, "a"],
    ["attributes of all kinds", `<a href=x title='>' b=">" c>z</a>`, "z"],
    ["nothing", "", ""],
  ] as const) {
    it(`shows ${what}`, async () => {
      assert.equal(await plain(html), text);
    });
  }

  it("of what is around alone shows that", async () => {
    assert.equal(await plain("<nav>a <a href=/>b</a></nav>"), "a b");
    assert.equal(await plain("<script>x</script>"), "");
  });

  it("has the first title, and none of its drawings' titles", async () => {
    const html = "<title>A\n&amp; <b></title><svg><title>no</title></svg><title>no</title>x";
    const { title, text } = await readableOf(html, { format: "plaintext", base, most: 100 });
    assert.deepEqual([title, text], ["A & <b>", "x"]);
  });
});

describe("a page as Markdown", () => {
  for (const [what, html, text] of [
    ["headings", "<h1>One</h1><h3>Two</h3>x", "# One\n\n### Two\n\nx"],
    [
      "links, whole",
      '<p>see <a href="../c?d=(e)">the <b>page</b></a>, <a href=//x.test>y</a>',
      "see [the page](https://site.test/c?d=%28e%29), [y](https://x.test/)",
    ],
    ["links in lists", "<ul><li><a href=/x>x</a><li>y</ul>", "- [x](https://site.test/x)\n- y"],
    ["no links to elsewhere", "<a href='javascript:x()'>a</a><a href=#b>b</a><a>c</a>", "abc"],
    ["no empty links", "a<a href=/x></a>b<a href=/y><img src=z></a>", "ab"],
  ] as const) {
    it(`shows ${what}`, async () => {
      assert.equal(await markdown(html), text);
    });
  }
});

describe("any page", () => {
  it("is read to its end, and holds no tag of a script", async () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "<",
        ">",
        "<p>",
        "</p>",
        "<!--",
        "-->",
        "<script>",
        "</script",
        "<a href='",
        '"',
      ),
      fc.constantFrom("<ul><li>", "</ul>", "&", "&#", "&amp", "<title>", "<pre>", "<td>", "=", "/"),
      fc.string(),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece), async (pieces) => {
        const html = pieces.join("");
        const { text } = await readableOf(html, { format: "markdown", base, most: 10_000 });
        assert.doesNotMatch(text, /<script>/);
        lineOf(html);
      }),
    );
  });

  it("takes time in proportion to its length", async () => {
    for (const piece of [
      "<",
      "<a ",
      "<a b='",
      "<!--",
      "&",
      "<script>",
      "</x",
      "<ul><li>",
      "<a b= ",
      "<title>",
    ]) {
      const startedAt = performance.now();
      await plain(piece.repeat(2_000_000 / piece.length));
      assert.ok(performance.now() - startedAt < 20_000, piece);
    }
  });

  it("is read no further than is wanted", async () => {
    const text = await plain("<p>0123456789".repeat(100_000), 1000);
    assert.ok(text.length < 1100);
  });

  it("that is one text of megabytes comes in pieces, none of which holds up the rest, and says the same", () => {
    const piece = "a&amp;b&#x1F600;😀&CounterClockwiseContourIntegral;&hellip;";
    const html = piece.repeat(50_000);
    const words = "a&b😀😀∳…".repeat(50_000);
    for (const [before, after] of [
      ["", ""],
      ["<title>", "</title>"],
      ["x", ""],
      ["😀", ""],
    ] as const) {
      const whole = `${before}${html}${after}`;
      const texts = [...tokensOf(whole)].flatMap((token) =>
        token.kind === "text" ? [token.text] : [],
      );
      assert.ok(texts.every((text) => text.length <= 16_384));
      const seen = `${before.replace("<title>", "")}${words}`;
      assert.ok(texts.join("") === seen, whole.slice(0, 10));
    }
  });
});

it("a line of HTML is its words", () => {
  assert.equal(lineOf("a <b>bold</b>&nbsp;&#39;x&#39;<br>b\n<script>no</script>"), "a bold 'x' b");
});
