// OpenAI's client for Node.js against the cloud that OPENAI_BASE_URL names; prints "ok".
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = "offline;pace=0";
const messages = [{ role: "user", content: "naïve 漢字 🍀" }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

const plain = await client.chat.completions.create({ model, messages });
assert.match(plain.choices[0].message.content, /naïve 漢字 🍀/u);
assert.ok(plain._request_id);

let text = "";
let usage = null;
const streamed = await client.chat.completions.create({
  model,
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of streamed) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, plain.choices[0].message.content);
assert.ok(usage.total_tokens > 0);

const called = await client.chat.completions
  .stream({ model, messages, tools, tool_choice: "required" })
  .finalChatCompletion();
assert.deepEqual(Object.keys(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments)), ["city"]);

const models = [];
for await (const listed of client.models.list()) models.push(listed.id);
assert.ok(models.includes("gpt-4o-mini"));

await assert.rejects(client.chat.completions.create({ model: "gpt-nope", messages }), OpenAI.NotFoundError);
await assert.rejects(client.chat.completions.create({ model: "offline;status=429", messages }), OpenAI.RateLimitError);
await assert.rejects(
  new OpenAI({ apiKey: "sk-wrong", maxRetries: 0 }).models.list().then((page) => page),
  OpenAI.AuthenticationError,
);
await assert.rejects(async () => {
  const cut = await client.chat.completions.create({ model: "offline;pace=0;cut=3", messages, stream: true });
  for await (const _ of cut);
}, OpenAI.APIError);

console.log("ok");
