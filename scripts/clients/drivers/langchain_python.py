"""langchain-openai."""

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

model = ChatOpenAI(model="librarian", base_url=BASE_URL, api_key="none")


@tool
def weather(city: str) -> str:
    """The weather in a city"""
    return f"Rain in {city}."


scene("chat")
said = model.invoke(QUESTION)
scene("follow-up")
model.invoke([HumanMessage(QUESTION), said, HumanMessage(FOLLOW_UP)])
scene("stream")
list(model.stream(QUESTION))
scene("tools")
messages: list = [HumanMessage(WEATHER)]
called: AIMessage = model.bind_tools([weather]).invoke(messages)
call = called.tool_calls[0]
model.bind_tools([weather]).invoke(
    [*messages, called, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])]
)
scene("structured")
schema = {"title": "pet", "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
model.with_structured_output(schema).invoke("In JSON: " + QUESTION)
scene("retry")
model.invoke(QUESTION)
