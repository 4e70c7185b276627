#!/usr/bin/env python3
"""Tool use with the openai client (pip install openai): the model asks for a function, we run it, the model answers.  tools.py [URL]"""
import json, os, sys
from openai import OpenAI

client = OpenAI(base_url=(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080") + "/v1", api_key=os.environ.get("BURIN_API_KEY", "none"))
model = client.models.list().data[0].id


def weather(city, unit):
    return {"city": city, "temperature": 18 if unit == "C" else 64, "sky": "clear"}


tools = [{"type": "function", "function": {
    "name": "weather", "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["C", "F"]}}, "required": ["city", "unit"]}}}]
messages = [{"role": "user", "content": "How is the weather in Oslo, in degrees Celsius?"}]

# tool_choice="required": also a small model that was never trained on tools writes a call, since the grammar allows nothing else
reply = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="required", parallel_tool_calls=False, temperature=0)
call = reply.choices[0].message.tool_calls[0]
arguments = json.loads(call.function.arguments)
result = weather(**arguments)
print(f"the model calls {call.function.name}({arguments}) and gets {result}")

messages += [reply.choices[0].message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}]
for event in client.chat.completions.create(model=model, messages=messages, max_tokens=60, temperature=0, stream=True):
    if event.choices and event.choices[0].delta.content:
        print(event.choices[0].delta.content, end="", flush=True)
print()
