// Vercel's AI SDK, with both of its providers.
import { createRequire } from "node:module";
import { BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene } from "./scene.mjs";

const require = createRequire(`${process.cwd()}/`);
const { generateText, stepCountIs, streamText, tool } = require("ai");
const { createOpenAI } = require("@ai-sdk/openai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { z } = require("zod");

const librarian = createOpenAICompatible({ name: "librarian", baseURL: BASE_URL, apiKey: "none" });
const openai = createOpenAI({ baseURL: BASE_URL, apiKey: "none" });
const model = librarian("librarian");
const weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `Rain in ${city}.`,
});

await scene("chat");
await generateText({ model, system: "Be brief.", prompt: QUESTION });
await scene("follow-up");
const messages = [
  { role: "user", content: QUESTION },
  { role: "assistant", content: "Bertrand, of course." },
  { role: "user", content: FOLLOW_UP },
];
await generateText({ model, messages });
await scene("stream");
for await (const _ of streamText({ model, prompt: QUESTION }).textStream);
await scene("tools");
await generateText({ model, prompt: WEATHER, tools: { weather }, stopWhen: stepCountIs(3) });
await scene("retry");
await generateText({ model, prompt: QUESTION });
await scene("named");
await generateText({ model, prompt: QUESTION, providerOptions: { librarian: { user: "ada" } } });
await scene("openai-chat");
await generateText({ model: openai.chat("librarian"), system: "Be brief.", prompt: QUESTION });
await scene("responses");
await generateText({ model: openai("librarian"), system: "Be brief.", prompt: QUESTION });
