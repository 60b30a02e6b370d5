// Tries JavaScript clients for real and prints a table of what each was seen to do: see python_clients.py.
import { readFileSync } from "node:fs";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import { ChatAnthropic } from "@langchain/anthropic";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";

const { TENANTRY_URL: url, TENANTRY_KEY: key, TENANTRY_EMBEDDER: embedder } = process.env;
const model = "claude-sonnet-4-20250514";
const messages = [{ role: "user", content: "hi" }];
const parameters = { type: "object", properties: { a: { type: "number" } } };
const claudeTool = { name: "add", description: "adds", input_schema: parameters };
const gptTool = { type: "function", function: { name: "add", parameters } };
const spentRun = { "x-tenantry-run-id": `spent-${process.pid}`, "x-tenantry-run-max-usd": "0.000001" };
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;

let asked = 0;
const counting = (...given) => {
  asked += 1;
  return fetch(...given);
};

const claude = (headers) =>
  new Anthropic({ baseURL: url, apiKey: key, fetch: counting, defaultHeaders: headers });
const gpt = (headers) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: key, fetch: counting, defaultHeaders: headers });
const aiClaude = (headers) =>
  createAnthropic({ baseURL: `${url}/v1`, apiKey: key, fetch: counting, headers })(model);
const aiGpt = (headers) =>
  createOpenAI({ baseURL: `${url}/v1`, apiKey: key, fetch: counting, headers }).chat(model);
const chainClaude = (headers) =>
  new ChatAnthropic({
    model, apiKey: key, anthropicApiUrl: url, maxTokens: 50,
    clientOptions: { fetch: counting, defaultHeaders: headers },
  });
const chainGpt = (headers) =>
  new ChatOpenAI({
    model, apiKey: key, configuration: { baseURL: `${url}/v1`, fetch: counting, defaultHeaders: headers },
  });

const count = async (pieces) => {
  let number = 0;
  for await (const _ of await pieces) number += 1;
  return number;
};
const aiTools = { add: tool({ description: "adds", inputSchema: jsonSchema(parameters) }) };
const aiTries = (of) => ({
  call: async () => (await generateText({ model: of(), prompt: "hi" })).usage.outputTokens,
  stream: async () => {
    const stream = streamText({ model: of(), prompt: "hi" });
    await count(stream.textStream);
    return (await stream.usage).outputTokens;
  },
  tools: async () => (await generateText({ model: of(), prompt: "hi", tools: aiTools })).usage.outputTokens,
  spent: () => generateText({ model: of(spentRun), prompt: "hi" }),
});
const chainTries = (of, oneTool) => ({
  call: async () => (await of().invoke("hi")).usage_metadata.output_tokens,
  stream: () => count(of().stream("hi")),
  tools: async () => (await of().bindTools([oneTool]).invoke("hi")).usage_metadata.output_tokens,
  spent: () => of(spentRun).invoke("hi"),
});

const clients = {
  [`@anthropic-ai/sdk ${version("@anthropic-ai/sdk")}`]: {
    call: async () => (await claude().messages.create({ model, max_tokens: 50, messages })).usage.output_tokens,
    stream: async () =>
      (await claude().messages.stream({ model, max_tokens: 50, messages }).finalMessage()).usage.output_tokens,
    tools: async () =>
      (await claude().messages.create({ model, max_tokens: 50, messages, tools: [claudeTool] })).usage.output_tokens,
    spent: () => claude(spentRun).messages.create({ model, max_tokens: 50, messages }),
  },
  [`openai ${version("openai")}`]: {
    call: async () => (await gpt().chat.completions.create({ model, messages })).usage.completion_tokens,
    stream: () => count(gpt().chat.completions.create({ model, messages, stream: true })),
    tools: async () =>
      (await gpt().chat.completions.create({ model, messages, tools: [gptTool] })).usage.completion_tokens,
    embeddings: async () => (await gpt().embeddings.create({ model: embedder, input: ["a", "b"] })).data.length,
    spent: () => gpt(spentRun).chat.completions.create({ model, messages }),
  },
  [`Vercel AI SDK ${version("ai")}, \`createAnthropic\``]: aiTries(aiClaude),
  [`Vercel AI SDK ${version("ai")}, \`createOpenAI\`, \`.chat()\``]: {
    ...aiTries(aiGpt),
    embeddings: async () => {
      const of = createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).embedding(embedder);
      return (await embedMany({ model: of, values: ["a", "b"] })).embeddings.length;
    },
  },
  [`LangChain.js ChatAnthropic ${version("@langchain/anthropic")}`]: chainTries(chainClaude, claudeTool),
  [`LangChain.js ChatOpenAI ${version("@langchain/openai")}`]: {
    ...chainTries(chainGpt, gptTool),
    embeddings: async () => {
      const of = new OpenAIEmbeddings({ model: embedder, apiKey: key, configuration: { baseURL: `${url}/v1` } });
      return (await of.embedDocuments(["a", "b"])).length;
    },
  },
};

const cell = async (tries, name) => {
  if (!tries[name] || (name === "embeddings" && !embedder)) return "–";
  try {
    return (await tries[name]()) ? "yes" : "nothing came";
  } catch (error) {
    return `${error.constructor.name} ${error.status ?? error.statusCode ?? ""}`.trim();
  }
};

for (const [name, tries] of Object.entries(clients)) {
  const seen = [];
  for (const each of ["call", "stream", "tools", "embeddings"]) seen.push(await cell(tries, each));
  asked = 0;
  const raised = await cell(tries, "spent");
  console.log(`| ${name} | – | ${seen.join(" | ")} | ${raised}, asked ${asked}× |`);
}
