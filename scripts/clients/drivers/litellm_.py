"""litellm, as a library."""

import litellm
from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(messages: list, **more: object) -> object:
    return litellm.completion(model="openai/librarian", api_base=BASE_URL, api_key="none", messages=messages, **more)


scene("chat")
messages = [{"role": "user", "content": QUESTION}]
said = ask(messages).choices[0].message
scene("follow-up")
ask([*messages, said, {"role": "user", "content": FOLLOW_UP}])
scene("stream")
list(ask(messages, stream=True))
scene("tools")
messages = [{"role": "user", "content": WEATHER}]
said = ask(messages, tools=[TOOL]).choices[0].message
ask([*messages, said, {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "Rain."}], tools=[TOOL])
scene("retry")
ask([{"role": "user", "content": QUESTION}], num_retries=2)
scene("named")
ask([{"role": "user", "content": QUESTION}], user="ada", safety_identifier="ada-lovelace", metadata={"session_id": "s"})
