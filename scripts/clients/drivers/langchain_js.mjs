// LangChain.js, which LibreChat is built on.
import { createRequire } from "node:module";
import { BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene } from "./scene.mjs";

const require = createRequire(`${process.cwd()}/`);
const { ChatOpenAI } = require("@langchain/openai");
const { HumanMessage, ToolMessage } = require("@langchain/core/messages");
const { tool } = require("@langchain/core/tools");
const { z } = require("zod");

const options = { model: "librarian", apiKey: "none", configuration: { baseURL: BASE_URL }, user: "ada" };
const model = new ChatOpenAI(options);
const weather = tool(({ city }) => `Rain in ${city}.`, {
  name: "weather",
  description: "The weather in a city",
  schema: z.object({ city: z.string() }),
});

await scene("chat");
const said = await model.invoke(QUESTION);
await scene("follow-up");
await model.invoke([new HumanMessage(QUESTION), said, new HumanMessage(FOLLOW_UP)]);
await scene("stream");
for await (const _ of await model.stream(QUESTION));
await scene("tools");
const called = await model.bindTools([weather]).invoke([new HumanMessage(WEATHER)]);
const [call] = called.tool_calls;
const result = new ToolMessage({ content: await weather.invoke(call.args), tool_call_id: call.id });
await model.bindTools([weather]).invoke([new HumanMessage(WEATHER), called, result]);
await scene("structured");
await model.withStructuredOutput(z.object({ title: z.string() })).invoke(`In JSON: ${QUESTION}`);
await scene("retry");
await model.invoke(QUESTION);
