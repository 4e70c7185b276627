"""The server through clients that others wrote: openai, anthropic and LangChain.  client.py URL; prints how many checks held."""
import json, sys
import anthropic
from openai import OpenAI, BadRequestError
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

url = sys.argv[1]
client = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Tell me about a cat."}]
checks = 0


def check(ok, what):
    global checks
    assert ok, what
    checks += 1


model = client.models.list().data[0].id
check(client.models.retrieve(model).id == model, "model")
a = client.chat.completions.create(model=model, messages=messages, max_tokens=24, seed=5, logprobs=True, top_logprobs=3, extra_body={"ignore_eos": True})
check(a.choices[0].message.content and a.choices[0].finish_reason == "length" and a.usage.completion_tokens == 24, "chat")
check(len(a.choices[0].logprobs.content) == 24 and len(a.choices[0].logprobs.content[0].top_logprobs) == 3, "logprobs")
check(len(a.system_fingerprint) == 64, "fingerprint")
text, usage, reasons = "", None, []
for e in client.chat.completions.create(model=model, messages=messages, max_tokens=24, seed=5, stream=True, stream_options={"include_usage": True},
                                        extra_body={"ignore_eos": True}):
    if e.choices:
        text += e.choices[0].delta.content or ""
        reasons += [e.choices[0].finish_reason] if e.choices[0].finish_reason else []
    usage = e.usage or usage
check(text == a.choices[0].message.content and usage.completion_tokens == 24 and reasons == ["length"], "stream equals whole")
b = client.completions.create(model=model, prompt=["Once upon a time", "The dog"], max_tokens=8, n=2, seed=1, logprobs=2, extra_body={"ignore_eos": True})
check([c.index for c in b.choices] == [0, 1, 2, 3] and b.choices[0].text != b.choices[1].text and len(b.choices[3].logprobs.tokens) == 8, "n")
alone = client.completions.create(model=model, prompt="The dog", max_tokens=8, seed=2, extra_body={"ignore_eos": True})
check(alone.choices[0].text == b.choices[3].text, "a choice equals the same seed alone")
e = client.embeddings.create(model=model, input=["a cat", "a dog"])
check(len(e.data) == 2 and abs(sum(x * x for x in e.data[0].embedding) - 1) < 1e-4, "embeddings")

schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
          "required": ["name", "age"], "additionalProperties": False}
for seed in range(6):
    r = client.chat.completions.create(model=model, messages=messages, seed=seed,
                                       response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": schema, "strict": True}})
    o = json.loads(r.choices[0].message.content)
    check(set(o) == {"name", "age"} and 0 <= o["age"] <= 150 and len(o["name"]) <= 12, "schema")
try:
    client.chat.completions.create(model=model, messages=messages, response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": {"not": {}}}})
    check(False, "an unknown keyword must fail")
except BadRequestError as x:
    check("not" in str(x), "the error names the keyword")

tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 10}, "unit": {"enum": ["C", "F"]}}, "required": ["city", "unit"]}}}
r = client.chat.completions.create(model=model, messages=messages, tools=[tool], tool_choice="required", parallel_tool_calls=False, seed=1)
call = r.choices[0].message.tool_calls[0]
arguments = json.loads(call.function.arguments)
check(r.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather" and arguments["unit"] in ("C", "F"), "tool")
streamed, name = "", None
for e in client.chat.completions.create(model=model, messages=messages, tools=[tool], tool_choice={"type": "function", "function": {"name": "get_weather"}},
                                        parallel_tool_calls=False, seed=1, stream=True):
    for t in (e.choices[0].delta.tool_calls or []) if e.choices else []:
        name = t.function.name or name
        streamed += t.function.arguments or ""
check(name == "get_weather" and json.loads(streamed) == arguments, "tool stream")
r = client.chat.completions.create(model=model, max_tokens=4, tools=[tool], messages=messages + [
    {"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}]},
    {"role": "tool", "tool_call_id": call.id, "content": "sunny"}])
check(r.usage.prompt_tokens > 60, "tool results are in the prompt")

r = client.responses.create(model=model, instructions="You are brief.", input="Tell me about a cat.", max_output_tokens=24, include=["message.output_text.logprobs"],
                            top_logprobs=2, extra_body={"seed": 5, "ignore_eos": True})
part = r.output[0].content[0]
check(r.output_text == a.choices[0].message.content and r.status == "incomplete" and r.incomplete_details.reason == "max_output_tokens", "a response is the chat's text")
check(r.usage.output_tokens == 24 and len(part.logprobs) == 24 and len(part.logprobs[0].top_logprobs) == 2, "response logprobs")
kinds, text, last, odds, done = [], "", None, [], None
for e in client.responses.create(model=model, instructions="You are brief.", input=[{"role": "user", "content": [{"type": "input_text", "text": "Tell me about a cat."}]}],
                                 max_output_tokens=24, stream=True, include=["message.output_text.logprobs"], top_logprobs=2, extra_body={"seed": 5, "ignore_eos": True}):
    check(e.sequence_number == len(kinds), "events are numbered")
    kinds.append(e.type)
    text += e.delta if e.type == "response.output_text.delta" else ""
    odds += e.logprobs if e.type == "response.output_text.delta" else []
    done = e.logprobs if e.type == "response.output_text.done" else done
    last = e
check(len(odds) == 24 and [x.logprob for x in odds] == [x.logprob for x in done] == [x.logprob for x in part.logprobs], "logprobs of the pieces are those of the whole")
check(text == r.output_text and last.response.output_text == text and last.response.status == "incomplete", "response stream equals whole")
check(kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"] and
      kinds[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"], "events in order")
r = client.responses.create(model=model, input="A person", text={"format": {"type": "json_schema", "name": "p", "schema": schema, "strict": True}}, extra_body={"seed": 3})
check(set(json.loads(r.output_text)) == {"name", "age"} and r.status == "completed", "response schema")
flat = {"type": "function", **tool["function"]}
r = client.responses.create(model=model, input="weather?", tools=[flat], tool_choice="required", parallel_tool_calls=False, extra_body={"seed": 1})
item = r.output[0]
check(item.type == "function_call" and item.name == "get_weather" and json.loads(item.arguments)["unit"] in ("C", "F"), "response tool")
streamed = ""
for e in client.responses.create(model=model, input="weather?", tools=[flat], tool_choice={"type": "function", "name": "get_weather"}, parallel_tool_calls=False, stream=True,
                                 extra_body={"seed": 1}):
    streamed += e.delta if e.type == "response.function_call_arguments.delta" else ""
check(json.loads(streamed) == json.loads(item.arguments), "response tool stream")
told = client.responses.create(model=model, tools=[flat], max_output_tokens=4, input=[{"role": "user", "content": "weather?"}, item.model_dump(exclude_none=True),
                               {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}])
check(told.usage.input_tokens > r.usage.input_tokens + 8, "tool results are in the response's prompt")
for wrong in ({"previous_response_id": "resp_1"}, {"background": True}, {"tools": [{"type": "web_search"}]}, {"input": [{"type": "item_reference", "id": "msg_1"}]}):
    try:
        client.responses.create(**{"model": model, "input": "x", **wrong})
        check(False, f"{wrong} must fail")
    except BadRequestError as x:
        check(next(iter(wrong)) in str(x), "the error names the field")

claude, asked = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0), {"model": model, "system": "You are brief.", "max_tokens": 24}
ask = [{"role": "user", "content": "Tell me about a cat."}]
check(claude.models.list().data[0].id == model and claude.models.retrieve(model).display_name == model, "models of Anthropic's form")
m = claude.messages.create(**asked, messages=ask, extra_body={"seed": 5, "ignore_eos": True})
check([x.type for x in m.content] == ["text"] and m.content[0].text == a.choices[0].message.content and m.stop_reason == "max_tokens" and m.usage.output_tokens == 24,
      "a message is the chat's text")
count = claude.messages.count_tokens(model=model, system=asked["system"], messages=ask).input_tokens
check(count == a.usage.prompt_tokens == m.usage.input_tokens + m.usage.cache_read_input_tokens, "tokens of messages")
with claude.messages.stream(**asked, messages=[{"role": "user", "content": [{"type": "text", "text": "Tell me about a cat."}]}], extra_body={"seed": 5, "ignore_eos": True}) as s:
    text, last = "".join(s.text_stream), s.get_final_message()
check(text == m.content[0].text == last.content[0].text and last.usage.output_tokens == 24 and last.stop_reason == "max_tokens", "message stream equals whole")
word = m.content[0].text.split()[2]
cut = claude.messages.create(**asked, messages=ask, stop_sequences=[word], extra_body={"seed": 5, "ignore_eos": True})
check(cut.stop_reason == "stop_sequence" and cut.stop_sequence == word and cut.content[0].text == text[:text.index(word)], "stop sequences")
half = {"role": "assistant", "content": m.content[0].text[:12]}
check(claude.messages.create(**asked, messages=ask + [half]).content[0].text[:1].strip() != "<", "a reply goes on from the assistant's words")
o = claude.messages.create(model=model, max_tokens=200, messages=ask, output_config={"format": {"type": "json_schema", "schema": schema}}, extra_body={"seed": 3})
check(set(json.loads(o.content[0].text)) == {"name", "age"} and o.stop_reason == "end_turn", "message schema")
plain = {"name": "get_weather", "description": "Weather of a city", "input_schema": tool["function"]["parameters"]}
use = {"model": model, "max_tokens": 200, "tools": [plain], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "messages": [{"role": "user", "content": "weather?"}]}
t = claude.messages.create(**use, extra_body={"seed": 1})
check(t.stop_reason == "tool_use" and t.content[0].type == "tool_use" and t.content[0].name == "get_weather" and t.content[0].input["unit"] in ("C", "F"), "message tool")
with claude.messages.stream(**{**use, "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}}, extra_body={"seed": 1}) as s:
    last = s.get_final_message()
check(last.content[0].input == t.content[0].input and last.stop_reason == "tool_use", "message tool stream")
told = claude.messages.create(model=model, max_tokens=4, tools=[plain], messages=use["messages"] + [
    {"role": "assistant", "content": t.model_dump()["content"]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": t.content[0].id, "content": "sunny"}, {"type": "text", "text": "And now?"}]}])
check(told.usage.input_tokens + told.usage.cache_read_input_tokens > t.usage.input_tokens + t.usage.cache_read_input_tokens + 8, "tool results are in the message's prompt")
for wrong in ({"messages": []}, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"stop_sequences": [1]}, {"output_config": {"format": {"type": "xml"}}},
              {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]}):
    try:
        claude.messages.create(**{**asked, "messages": ask, **wrong})
        check(False, f"{wrong} must fail")
    except anthropic.BadRequestError as x:
        check(next(iter(wrong)) in x.body["error"]["message"] and x.body["error"]["type"] == "invalid_request_error", "the error names the field")

chat = ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, max_tokens=8, temperature=0, max_retries=0)
whole = chat.invoke("Tell me about a cat.").content
check(whole and "".join(x.content for x in chat.stream("Tell me about a cat.")) == whole, "LangChain stream equals whole")
check(len(chat.batch(["One day", "Tom", "Lily"])) == 3, "LangChain batch")
bound = ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, temperature=0, max_retries=0).bind_tools([tool], tool_choice="get_weather")
check(bound.invoke("weather?").tool_calls[0]["name"] == "get_weather", "LangChain tools")
check(ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, max_tokens=8, temperature=0, max_retries=0, use_responses_api=True).invoke("Tell me about a cat.").text == whole,
      "LangChain's responses equal its chats")
check(len(OpenAIEmbeddings(base_url=url + "/v1", api_key="none", model=model, check_embedding_ctx_length=False).embed_query("a cat")) > 0, "LangChain embeddings")
print(checks)
