import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { callTokens } from "../../src/agent/model/call-tokens.ts";
import { estimatedTokens, mostTokens } from "../../src/agent/tokens.ts";

/** Texts, and their tokens as OpenAI's o200k counts them (gpt-tokenizer 4.0.0, `encode`). */
const COUNTED: readonly (readonly [name: string, tokens: number, text: string])[] = [
  [
    "English",
    54,
    "The pump in the cellar has been running since four o'clock in the morning, and the temperature of its bearing rose from 41 to 63 degrees. Please check whether the valve is open, and tell me what you would do about it before you switch anything off.",
  ],
  [
    "German",
    61,
    "Die Pumpe im Keller läuft seit vier Uhr morgens, und die Temperatur ihres Lagers ist von 41 auf 63 Grad gestiegen. Bitte prüfe, ob das Überdruckventil geöffnet ist, und sage mir, was du unternehmen würdest, bevor du irgendetwas abschaltest.",
  ],
  [
    "French",
    55,
    "La pompe de la cave tourne depuis quatre heures du matin et la température de son palier est passée de 41 à 63 degrés. Vérifie si la vanne est ouverte, et dis-moi ce que tu ferais avant d'éteindre quoi que ce soit.",
  ],
  [
    "code",
    88,
    "export function median(values: readonly number[]): number | undefined {\n  const sorted = values.toSorted((left, right) => left - right);\n  const middle = Math.floor(sorted.length / 2);\n  if (sorted.length === 0) return undefined;\n  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1]! + sorted[middle]!) / 2;\n}\n",
  ],
  [
    "JSON",
    85,
    '{"device":"pump-17","facts":{"temperature":{"value":63.25,"unit":"celsius"},"load":[0.42,0.37,0.31],"memory":{"total":8323072000,"free":1204224000}},"alarms":[{"at":"2026-11-29T13:28:18Z","level":"warn","message":"bearing too hot"}]}',
  ],
  [
    "log",
    82,
    "2026-11-29T13:28:18.123Z warn [mqtt] connection lost: keepalive timeout after 61234 ms host=broker.example.org:8883\n2026-11-29T13:28:19.456Z info [mqtt] reconnected session=1 attempts=2 client=picoclaw-mqtt-7f3a9c21\n",
  ],
  [
    "Chinese",
    71,
    "地下室的水泵从凌晨四点开始一直在运行，轴承温度从四十一度上升到了六十三度。请检查阀门是否打开，并在关闭任何设备之前告诉我你会怎么处理。今天的天气预报说下午会下雨，所以请提醒我晚上把窗户关好。",
  ],
  [
    "Traditional Chinese",
    62,
    "地下室的水泵從凌晨四點開始一直在運轉，軸承溫度從四十一度上升到了六十三度。請檢查閥門是否打開，並在關閉任何設備之前告訴我你會怎麼處理。",
  ],
  [
    "Japanese",
    69,
    "地下室のポンプは午前四時からずっと動いていて、軸受の温度が四十一度から六十三度まで上がりました。バルブが開いているかどうかを確認して、何かを止める前に、どうするつもりか教えてください。",
  ],
  [
    "Korean",
    62,
    "지하실의 펌프가 새벽 네 시부터 계속 작동하고 있으며, 베어링의 온도가 41도에서 63도로 올랐습니다. 밸브가 열려 있는지 확인하고, 무엇이든 끄기 전에 어떻게 할 것인지 알려 주세요.",
  ],
  [
    "Russian",
    60,
    "Насос в подвале работает с четырёх часов утра, и температура его подшипника поднялась с 41 до 63 градусов. Проверь, пожалуйста, открыт ли клапан, и скажи мне, что ты сделаешь, прежде чем что-нибудь выключать.",
  ],
  [
    "Greek",
    71,
    "Η αντλία στο υπόγειο λειτουργεί από τις τέσσερις το πρωί και η θερμοκρασία του ρουλεμάν ανέβηκε από 41 σε 63 βαθμούς. Έλεγξε αν η βαλβίδα είναι ανοιχτή και πες μου τι θα έκανες.",
  ],
  [
    "Arabic",
    56,
    "تعمل المضخة في القبو منذ الساعة الرابعة صباحًا، وارتفعت درجة حرارة المحمل من 41 إلى 63 درجة. يرجى التحقق مما إذا كان الصمام مفتوحًا، وأخبرني ماذا ستفعل قبل إيقاف أي شيء.",
  ],
  [
    "Hebrew",
    60,
    "המשאבה במרתף פועלת מאז ארבע בבוקר, והטמפרטורה של המיסב עלתה מ-41 ל-63 מעלות. בדוק בבקשה אם השסתום פתוח, וספר לי מה היית עושה לפני שאתה מכבה משהו.",
  ],
  [
    "Thai",
    75,
    "ปั๊มน้ำในห้องใต้ดินทำงานมาตั้งแต่ตีสี่ และอุณหภูมิของตลับลูกปืนเพิ่มขึ้นจาก 41 เป็น 63 องศา กรุณาตรวจสอบว่าวาล์วเปิดอยู่หรือไม่ และบอกฉันว่าคุณจะทำอย่างไรก่อนที่จะปิดอะไร",
  ],
  [
    "Hindi",
    67,
    "तहखाने का पंप सुबह चार बजे से चल रहा है, और उसके बेयरिंग का तापमान 41 से बढ़कर 63 डिग्री हो गया है। कृपया जाँच करें कि वाल्व खुला है या नहीं, और कुछ भी बंद करने से पहले मुझे बताएँ कि आप क्या करेंगे।",
  ],
  ["emoji", 45, "🔥🌡️ 63 °C 😱 🚰🛠️ ✅ 👍🏽 🎉🎉 👩‍🔧 🇩🇪 ⚠️ 🦞💧🔌📈"],
  [
    "another English text",
    40,
    "Dear all,\n\nThanks for joining the call yesterday. As discussed, we will postpone the migration until the vendor has confirmed the new certificate chain; nobody should restart the brokers before then.\n\nBest regards,\nAda",
  ],
  [
    "another Chinese text",
    52,
    "人工智能正在改变我们的生活方式。无论是在家里还是在工厂，越来越多的设备能够自己测量、判断并采取行动。不过，安全始终是最重要的问题：谁可以控制这些设备，谁对结果负责？",
  ],
  [
    "another Japanese text",
    52,
    "申し訳ございませんが、現在サーバーの負荷が高くなっております。しばらく経ってからもう一度お試しください。ご不便をおかけしますが、よろしくお願いいたします。",
  ],
  [
    "another Korean text",
    46,
    "안녕하세요. 오늘 회의에서 논의한 내용을 정리해서 보내 드립니다. 서버 이전은 다음 주 월요일로 미루고, 그 전까지는 아무도 브로커를 다시 시작하지 마세요.",
  ],
  [
    "another Russian text",
    36,
    "Здравствуйте! Вчера мы обсудили перенос сервера и решили отложить его до подтверждения нового сертификата. До этого никто не должен перезапускать брокер.",
  ],
  [
    "HTML",
    59,
    '<div class="card"><h2 id="title">Pump 17</h2><p>Temperature: <b>63&nbsp;°C</b></p><a href="https://example.org/devices/pump-17?tab=history">History</a></div>',
  ],
];

describe("the estimate of tokens", () => {
  for (const [name, tokens, text] of COUNTED) {
    it(`is within a quarter of the real number for ${name}`, () => {
      const ratio = estimatedTokens(text) / tokens;
      assert.ok(ratio > 0.75 && ratio < 1.25, `${ratio}`);
    });
  }

  it("is below its bound by the bytes of the JSON", () => {
    for (const [name, , text] of COUNTED) {
      const bytes = Buffer.byteLength(JSON.stringify({ role: "user", text }));
      assert.ok(mostTokens(bytes) >= estimatedTokens([{ role: "user", text }]), name);
    }
  });

  it("adds a few for each message, and those of its calls and its preface", () => {
    assert.equal(estimatedTokens(""), 0);
    assert.equal(estimatedTokens([{ role: "user", text: "ten" }]), 5);
    assert.equal(estimatedTokens([{ role: "user", text: "ten", preface: "two" }]), 6);
    const toolCalls = [{ id: "c", name: "exec", arguments: "uptime" }];
    assert.equal(estimatedTokens([{ role: "assistant", text: "", toolCalls }]), 7);
  });

  it("of a call have each image once", () => {
    const { signal } = new AbortController();
    const question = { role: "user", text: "What is this?" } as const;
    const shown = { ...question, images: [{ mediaType: "image/png", data: "AAAA" }] } as const;
    const [plain, withImage] = [question, shown].map(
      (message) => callTokens({ system: "", messages: [message], tools: [], signal }).all,
    );
    assert.equal(withImage, (plain ?? 0) + 1000);
  });
});
