// The official library for JavaScript.
import { createRequire } from "node:module";
import { BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene } from "./scene.mjs";

const { OpenAI } = createRequire(`${process.cwd()}/`)("openai");
const client = new OpenAI({ baseURL: BASE_URL, apiKey: "none" });
const ask = (messages, more = {}) => client.chat.completions.create({ model: "librarian", messages, ...more });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", description: "The weather in a city", parameters } }];

await scene("chat");
const first = [{ role: "user", content: QUESTION }];
const said = (await ask(first)).choices[0].message;
await scene("follow-up");
await ask([...first, said, { role: "user", content: FOLLOW_UP }]);
await scene("stream");
for await (const _ of await ask(first, { stream: true }));
await scene("tools");
const asked = [{ role: "user", content: WEATHER }];
const called = (await ask(asked, { tools })).choices[0].message;
await ask([...asked, called, { role: "tool", tool_call_id: called.tool_calls[0].id, content: "Rain." }], { tools });
await scene("retry");
await ask(first);
await scene("responses");
await client.responses.create({ model: "librarian", input: QUESTION });
