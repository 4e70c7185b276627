// The server through clients that others wrote: openai, Anthropic's and the AI SDK.  client.mjs URL; prints how many checks held.
import assert from 'assert';
import OpenAI from 'openai';
import Anthropic from '@anthropic-ai/sdk';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, streamText, jsonSchema, Output, stepCountIs, tool } from 'ai';

const url = process.argv[2] + '/v1';
let checks = 0;
const check = (ok, what) => { assert(ok, what); checks++; };

const client = new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: 'user', content: 'Tell me about a cat.' }];
const whole = await client.chat.completions.create({ model, messages, max_tokens: 16, seed: 9 });
let text = '';
for await (const e of await client.chat.completions.create({ model, messages, max_tokens: 16, seed: 9, stream: true })) text += e.choices[0]?.delta?.content ?? '';
check(text === whole.choices[0].message.content && text.length > 10, 'openai stream equals whole');
const stream = await client.chat.completions.create({ model, messages, max_tokens: 400, stream: true });
for await (const e of stream) { if (e.choices.length) break; }
stream.controller.abort();
check((await client.embeddings.create({ model, input: 'x' })).data[0].embedding.length > 0, 'openai embeddings');
await assert.rejects(client.chat.completions.create({ model, messages: [] }), (e) => e.status === 400 && e.param === 'messages');
checks++;

const said = await client.responses.create({ model, input: messages, max_output_tokens: 16, seed: 9 });
check(said.output_text === text, 'openai response equals the chat');
let last, spoken = '';
for await (const e of client.responses.stream({ model, input: messages, max_output_tokens: 16, seed: 9 })) {
  if (e.type === 'response.output_text.delta') spoken += e.delta;
  last = e;
}
check(spoken === text && last.type === 'response.incomplete' && last.response.usage.output_tokens === 16, 'openai response stream');

const claude = new Anthropic({ baseURL: process.argv[2], apiKey: 'none', maxRetries: 0 });
const message = await claude.messages.create({ model, messages, max_tokens: 16, seed: 9 });
check(message.content[0].text === text && message.stop_reason === whole.choices[0].finish_reason.replace('length', 'max_tokens').replace('stop', 'end_turn'), 'a message equals the chat');
const final = await claude.messages.stream({ model, messages, max_tokens: 16, seed: 9 }).finalMessage();
check(final.content[0].text === text && final.usage.output_tokens === message.usage.output_tokens, 'message stream equals whole');
await assert.rejects(claude.messages.create({ model, messages: [], max_tokens: 1 }), (e) => e.status === 400 && e.error.error.type === 'invalid_request_error');
checks++;

const provider = createOpenAI({ baseURL: url, apiKey: 'none' }), anthropic = createAnthropic({ baseURL: url, apiKey: 'none' });
for (const sdk of [provider.chat(model), provider(model), anthropic(model)]) { // the second speaks Responses
  const one = await generateText({ model: sdk, prompt: 'Tell me about a cat.', maxOutputTokens: 16, temperature: 0, maxRetries: 0 });
  let two = '';
  for await (const piece of streamText({ model: sdk, prompt: 'Tell me about a cat.', maxOutputTokens: 16, temperature: 0, maxRetries: 0 }).textStream) two += piece;
  check(one.text === two && two.length > 10, 'AI SDK stream equals whole');
  const person = jsonSchema({ type: 'object', properties: { name: { type: 'string', maxLength: 10 }, age: { type: 'integer', minimum: 0, maximum: 99 } }, required: ['name', 'age'], additionalProperties: false });
  const made = await generateText({ model: sdk, prompt: 'A person', output: Output.object({ schema: person }), maxRetries: 0 });
  check(Number.isInteger(made.output.age) && made.output.age <= 99, 'AI SDK object');
  const called = await generateText({ model: sdk, prompt: 'weather?', toolChoice: 'required', maxRetries: 0,
    tools: { weather: tool({ description: 'Weather', inputSchema: jsonSchema({ type: 'object', properties: { city: { enum: ['Oslo', 'Rome'] } }, required: ['city'], additionalProperties: false }) }) } });
  check(['Oslo', 'Rome'].includes(called.toolCalls[0].input.city), 'AI SDK tool');
  const steps = await generateText({ model: sdk, prompt: 'weather?', maxRetries: 0, maxOutputTokens: 90, stopWhen: stepCountIs(2), seed: 1,
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? 'none' : 'required' }),
    tools: { weather: tool({ description: 'Weather', inputSchema: jsonSchema({ type: 'object', properties: { city: { enum: ['Oslo'] } }, required: ['city'], additionalProperties: false }), execute: () => 'sunny' }) } });
  check(steps.steps.length === 2 && steps.steps[0].toolResults.length > 0 && steps.text.length > 0, 'AI SDK goes on from the result of a tool');
}
console.log(checks);
