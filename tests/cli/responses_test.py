"""/v1/responses, as OpenAI's client asks and reads it."""

import json

import jsonschema
import openai
import pydantic
from server import ServerCase, about, data_url
from support import SAMPLES

ROOF = "What is on the roof?"


def seen(picture, question):
    return [{"role": "user", "content": [{"type": "input_image", "image_url": data_url(SAMPLES / picture), "detail": "auto"},
                                         {"type": "input_text", "text": question}]}]


class ResponsesCase(ServerCase):
    def client(self, server, key="none"):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0)
        self.addCleanup(client.close)
        return client


class Responses(ResponsesCase):
    def test_responses_answer_as_chats_do(self):
        server = self.serve()
        client = self.client(server)
        chat = server.chat(about("roof.png", ROOF))
        response = client.responses.create(model="nano", input=seen("roof.png", ROOF), metadata={"a": "b"})
        self.assertEqual(response.output_text, chat["choices"][0]["message"]["content"])
        self.assertEqual((response.status, response.object, response.model, response.error), ("completed", "response", "nano", None))
        self.assertEqual(response.usage.input_tokens, chat["usage"]["prompt_tokens"])
        self.assertEqual(response.usage.output_tokens, chat["usage"]["completion_tokens"])
        self.assertEqual(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens)
        self.assertEqual(response.usage.output_tokens_details.reasoning_tokens, 0)
        self.assertEqual(response.metadata, {"a": "b"})
        self.assertEqual([item.type for item in response.output], ["message"])
        text = client.responses.create(model="nano", input="Hello", instructions="Be brief.", max_output_tokens=3, temperature=0, top_p=1)
        self.assertEqual((text.status, text.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual((text.usage.output_tokens, text.instructions, text.max_output_tokens), (3, "Be brief.", 3))
        told = server.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}], max_tokens=3)
        self.assertEqual(text.usage.input_tokens, told["usage"]["prompt_tokens"])
        self.assertEqual(text.output_text, told["choices"][0]["message"]["content"])

    def test_responses_take_files(self):
        client = self.client(self.serve())
        whole = client.responses.create(model="nano", input=seen("roof.png", ROOF)).output_text
        file = {"type": "input_file", "filename": "roof.png", "file_data": data_url(SAMPLES / "roof.png")}
        content = [file, {"type": "input_text", "text": ROOF}]
        self.assertEqual(client.responses.create(model="nano", input=[{"role": "user", "content": content}]).output_text, whole)

    def test_responses_stream_typed_events(self):
        client = self.client(self.serve())
        whole = client.responses.create(model="nano", input=seen("roof.png", ROOF))
        events = list(client.responses.create(model="nano", input=seen("roof.png", ROOF), stream=True))
        kinds = [event.type for event in events]
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        self.assertEqual(kinds, ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                                 *["response.output_text.delta"] * len(deltas), "response.output_text.done", "response.content_part.done",
                                 "response.output_item.done", "response.completed"])
        self.assertGreater(len(deltas), 1)
        self.assertEqual("".join(deltas), whole.output_text)
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        last = events[-1].response
        self.assertEqual((last.output_text, last.usage.input_tokens, last.usage.output_tokens), (whole.output_text, whole.usage.input_tokens, whole.usage.output_tokens))
        self.assertEqual({event.item_id for event in events if hasattr(event, "item_id")}, {last.output[0].id})
        with client.responses.stream(model="nano", input=seen("roof.png", ROOF)) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output_text, whole.output_text)
        cut = list(client.responses.create(model="nano", input=seen("roof.png", ROOF), max_output_tokens=2, stream=True))
        self.assertEqual((cut[-1].type, cut[-1].response.status), ("response.incomplete", "incomplete"))

    def test_responses_are_parsed_into_models(self):
        class Count(pydantic.BaseModel):
            count: int

        client = self.client(self.serve())
        response = client.responses.parse(model="nano", input=seen("roof.png", "How many trees are there?"), text_format=Count, max_output_tokens=60)
        self.assertIsInstance(response.output_parsed, Count)
        self.assertEqual(json.loads(response.output_text), {"count": response.output_parsed.count})
        self.assertEqual(response.text.format.type, "json_schema")

    def test_responses_go_on_from_earlier_ones_of_the_same_key(self):
        server = self.serve("--api-key", "one", "--api-key", "two")
        one, two = self.client(server, "one"), self.client(server, "two")
        first = one.responses.create(model="nano", input=seen("roof.png", ROOF), instructions="Be brief.")
        second = one.responses.create(model="nano", input="What is in the image?", previous_response_id=first.id)
        said = [{"role": "assistant", "content": first.output_text}, {"role": "user", "content": "What is in the image?"}]
        status, _, body = server.ask("POST", "/v1/chat/completions", {"messages": about("roof.png", ROOF) + said}, {"Authorization": "Bearer one"})
        self.assertEqual(status, 200, body)
        chat = json.loads(body)
        self.assertEqual(second.usage.input_tokens, chat["usage"]["prompt_tokens"])
        self.assertEqual(second.output_text, chat["choices"][0]["message"]["content"])
        third = one.responses.create(model="nano", input=[*seen("roof.png", ROOF), *first.output, {"role": "user", "content": "What is in the image?"}])
        self.assertEqual(third.output_text, second.output_text)
        unkept = one.responses.create(model="nano", input="Hello", store=False, max_output_tokens=1)
        for client, id in ((two, first.id), (one, "resp_none"), (one, unkept.id)):
            with self.assertRaises(openai.NotFoundError) as raised:
                client.responses.create(model="nano", input="And?", previous_response_id=id)
            self.assertEqual(raised.exception.param, "previous_response_id")

    def test_responses_say_what_is_wrong_with_a_request(self):
        server = self.serve()
        for body, says in (
            ({}, "input is missing"), ({"input": []}, "input is []"), ({"input": 5}, "input is 5"), ({"input": "x", "tmperature": 1}, 'unknown field "tmperature"'),
            ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, 'input[0].type is "reasoning"'), ({"input": [{"role": "me", "content": "x"}]}, "input[0].role"),
            ({"input": [{"content": "x"}]}, "input[0].role is missing"), ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}, "keeps no files"),
            ({"input": [{"role": "user", "content": [{"type": "sound"}]}]}, "input[0].content[0].type"),
            ({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "input[0].content[0]: model nano takes no audio"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}, "input[0].content[0]: "),
            ({"input": "x", "max_output_tokens": 0}, "max_output_tokens is 0"), ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
            ({"input": "x", "background": True}, "background"),
            ({"input": "x", "text": {"format": {"type": "json_schema", "name": "x", "schema": {"properties": {"a": {"not": {}}}}}}}, "text.format.schema: schema: #/properties/a/not"),
            ({"input": "x", "temperature": -1}, "temperature"), ({"input": "x", "conversation": "conv_1"}, "conversation"), ({"input": "x", "metadata": {"a": 1}}, "metadata.a"),
        ):
            with self.subTest(body=body):
                self.refused(server, 400, says, body, path="/v1/responses")
        self.refused(server, 405, "takes POST only", None, path="/v1/responses", method="GET")
        self.refused(server, 404, "no such model", {"input": "x", "model": "other"}, path="/v1/responses")


WEATHER = {"type": "function", "name": "get_weather", "description": "The weather of a city", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}}
CLICK = {"type": "function", "name": "click", "description": "Clicks", "parameters": {
    "type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}, "why": {"type": "string", "maxLength": 8}}, "required": ["x"]}}
LEAVE = {"type": "function", "name": "leave"}


def for_chats(tool):
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


class Click(pydantic.BaseModel):
    x: int = pydantic.Field(ge=0, le=99)


class Functions(ResponsesCase):
    def check_call(self, call, tools=(WEATHER, CLICK, LEAVE)):
        self.assertEqual((call.type, call.status), ("function_call", "completed"))
        self.assertRegex(call.id, "^fc_[0-9a-f]{24}$")
        self.assertRegex(call.call_id, "^call_[0-9a-f]{24}$")
        schema = next(tool for tool in tools if tool["name"] == call.name).get("parameters", {"type": "object", "maxProperties": 0})
        jsonschema.validate(json.loads(call.arguments), schema)

    def test_functions_are_called_as_chats_call_them(self):
        server = self.serve()
        client = self.client(server)
        options = {"temperature": 1, "parallel_tool_calls": False, "tool_choice": "required"}
        names = set()
        for seed in range(6):
            response = client.responses.create(model="nano", input=seen("roof.png", ROOF), tools=[WEATHER, CLICK, LEAVE], extra_body={"seed": seed}, **options)
            chat = server.chat(about("roof.png", ROOF), tools=[for_chats(tool) for tool in (WEATHER, CLICK, LEAVE)], seed=seed, **options)
            self.assertEqual((response.status, len(response.output), response.output_text), ("completed", 1, ""))
            call, = response.output
            self.check_call(call)
            function = chat["choices"][0]["message"]["tool_calls"][0]["function"]
            self.assertEqual((call.name, call.arguments), (function["name"], function["arguments"]))
            self.assertEqual(response.usage.input_tokens, chat["usage"]["prompt_tokens"])
            names.add(call.name)
        self.assertGreater(len(names), 1)

    def test_responses_repeat_their_tools(self):
        client = self.client(self.serve())
        choice = {"type": "function", "name": "leave"}
        response = client.responses.create(model="nano", input="Hello", tools=[WEATHER, LEAVE], tool_choice=choice, parallel_tool_calls=False)
        self.assertEqual([tool.name for tool in response.tools], ["get_weather", "leave"])
        self.assertEqual((response.tools[0].parameters, response.tools[0].strict), (WEATHER["parameters"], True))
        self.assertEqual((response.tools[1].type, response.tools[1].description, response.tools[1].parameters), ("function", None, None))
        self.assertEqual((response.tool_choice.to_dict(), response.parallel_tool_calls), (choice, False))
        plain = client.responses.create(model="nano", input="Hello", max_output_tokens=1)
        self.assertEqual((plain.tools, plain.tool_choice, plain.parallel_tool_calls), ([], "auto", True))

    def test_the_choice_says_which_functions_are_called(self):
        client = self.client(self.serve())

        def called(choice, **options):
            response = client.responses.create(model="nano", input=seen("roof.png", ROOF), tools=[WEATHER, CLICK, LEAVE], tool_choice=choice, **options)
            return [getattr(item, "name", item.type) for item in response.output]

        for tool in (WEATHER, CLICK, LEAVE):
            self.assertEqual(called({"type": "function", "name": tool["name"]}, temperature=1), [tool["name"]])
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": name} for name in ("click", "leave")]}
        names = {name for seed in range(6) for name in called(allowed, temperature=1, parallel_tool_calls=False, extra_body={"seed": seed})}
        self.assertEqual(names, {"click", "leave"})
        self.assertEqual(called({**allowed, "mode": "auto"}), ["message"])
        self.assertEqual(called("auto"), ["message"])
        none = client.responses.create(model="nano", input=seen("roof.png", ROOF), tools=[CLICK], tool_choice="none")
        plain = client.responses.create(model="nano", input=seen("roof.png", ROOF))
        self.assertEqual((none.output_text, none.usage.input_tokens), (plain.output_text, plain.usage.input_tokens))

    def test_calls_are_streamed_item_by_item(self):
        client = self.client(self.serve())
        options = {"model": "nano", "input": seen("roof.png", ROOF), "tools": [WEATHER, CLICK], "tool_choice": "required", "temperature": 1, "max_output_tokens": 300}
        several = 0
        for seed in range(6):
            whole = client.responses.create(**options, extra_body={"seed": seed})
            events = list(client.responses.create(**options, extra_body={"seed": seed}, stream=True))
            self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
            self.assertEqual([event.type for event in events[:2]], ["response.created", "response.in_progress"])
            last = events[-1].response
            self.assertEqual((events[-1].type, last.status), ("response." + whole.status, whole.status))
            self.assertEqual([(item.name, item.arguments, item.status) for item in last.output], [(item.name, item.arguments, item.status) for item in whole.output])
            rest = events[2:-1]
            for index, item in enumerate(last.output):
                mine = [event for event in rest if event.output_index == index]
                self.assertEqual(mine, rest[:len(mine)], "one item after the other")
                rest = rest[len(mine):]
                added, *deltas, arguments, done = mine
                self.assertEqual((added.type, added.item.arguments, added.item.status), ("response.output_item.added", "", "in_progress"))
                self.assertEqual((added.item.id, added.item.call_id, added.item.name), (item.id, item.call_id, item.name))
                self.assertEqual({(event.type, event.item_id) for event in deltas}, {("response.function_call_arguments.delta", item.id)})
                self.assertEqual("".join(event.delta for event in deltas), item.arguments)
                self.assertEqual((arguments.type, arguments.arguments, arguments.item_id), ("response.function_call_arguments.done", item.arguments, item.id))
                self.assertEqual((done.type, done.item), ("response.output_item.done", item))
                if item.status == "completed":
                    self.check_call(item)
            self.assertEqual(rest, [])
            several += len(last.output) > 1
        self.assertGreater(several, 0)

    def test_the_client_gathers_streamed_calls(self):
        client = self.client(self.serve())
        with client.responses.stream(model="nano", input=seen("roof.png", ROOF), tools=[openai.pydantic_function_tool(Click, name="click")], tool_choice="required",
                                     parallel_tool_calls=False) as stream:
            kinds = {event.type for event in stream}
            response = stream.get_final_response()
        self.assertIn("response.function_call_arguments.delta", kinds)
        self.assertNotIn("response.output_text.delta", kinds)
        self.assertIsInstance(response.output[0].parsed_arguments, Click)
        parsed = client.responses.parse(model="nano", input=seen("roof.png", ROOF), tools=[openai.pydantic_function_tool(Click, name="click")], tool_choice="required",
                                        parallel_tool_calls=False)
        self.assertEqual(parsed.output[0].parsed_arguments, response.output[0].parsed_arguments)

    def test_outputs_go_back_by_items_and_by_the_response_that_called(self):
        server = self.serve("--api-key", "one", "--api-key", "two")
        one, two = self.client(server, "one"), self.client(server, "two")
        asked = seen("roof.png", ROOF)
        first = one.responses.create(model="nano", input=asked, tools=[WEATHER, CLICK], tool_choice="required", temperature=1, extra_body={"seed": 1}, max_output_tokens=300)
        calls = first.output
        self.assertTrue(all(call.type == "function_call" for call in calls))
        outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "A green door"} for call in calls]
        after = {"model": "nano", "tools": [WEATHER, CLICK], "tool_choice": "none", "max_output_tokens": 20}
        by_items = one.responses.create(input=[*asked, *calls, *outputs], **after)
        by_id = one.responses.create(input=outputs, previous_response_id=first.id, **after)
        in_parts = [{**output, "output": [{"type": "input_text", "text": output["output"]}]} for output in outputs]
        by_parts = one.responses.create(input=in_parts, previous_response_id=first.id, **after)
        said = [{"role": "assistant", "tool_calls": [{"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls]},
                *({"role": "tool", "tool_call_id": call.call_id, "content": "A green door"} for call in calls)]
        status, _, body = server.ask("POST", "/v1/chat/completions", {"messages": about("roof.png", ROOF) + said, "max_tokens": 20}, {"Authorization": "Bearer one"})
        self.assertEqual(status, 200, body)
        chat = json.loads(body)
        for response in (by_items, by_id, by_parts):
            self.assertEqual(response.usage.input_tokens, chat["usage"]["prompt_tokens"])
            self.assertEqual(response.output_text, chat["choices"][0]["message"]["content"])
        # What comes after remembers the call and its output, and a late output may name it.
        later = one.responses.create(input="And?", previous_response_id=by_id.id, **after)
        self.assertGreater(later.usage.input_tokens, by_id.usage.input_tokens)
        late = one.responses.create(input=outputs[:1], previous_response_id=by_id.id, **after)
        self.assertGreater(late.usage.input_tokens, by_id.usage.input_tokens)
        with self.assertRaises(openai.NotFoundError) as raised:
            two.responses.create(input=outputs, previous_response_id=first.id, **after)
        self.assertEqual(raised.exception.param, "previous_response_id")

    def test_an_output_may_be_a_picture(self):
        client = self.client(self.serve())
        call = {"type": "function_call", "call_id": "call_1", "name": "leave", "arguments": "{}"}
        output = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_image", "image_url": data_url(SAMPLES / "roof.png"), "detail": "auto"}]}
        response = client.responses.create(model="nano", input=[{"role": "user", "content": "Look."}, call, output, {"role": "user", "content": ROOF}])
        self.assertGreater(response.usage.to_dict()["input_tokens_details"]["image_tokens"], 0)
        self.assertTrue(response.output_text)

    def test_a_call_that_is_cut_is_incomplete(self):
        client = self.client(self.serve())
        response = client.responses.create(model="nano", input=seen("roof.png", ROOF), tools=[CLICK], tool_choice="required", max_output_tokens=45)
        self.assertEqual((response.status, response.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(response.output[-1].status, "incomplete")

    def test_responses_say_what_is_wrong_with_tools_and_outputs(self):
        server = self.serve()
        call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
        output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}

        def tool(name="f", **parameters):
            return {"type": "function", "name": name, "parameters": {"type": "object", **parameters}}

        for body, says in (
            *(({"tools": [tool(), {"type": kind}]}, f'tools[1].type is "{kind}": this server calls functions only')
              for kind in ("web_search", "file_search", "mcp", "computer_use_preview", "code_interpreter", "custom")),
            ({"tools": {}}, "tools is {}: must be a list"), ({"tools": [{"name": "f"}]}, "tools[0].type is missing"), ({"tools": [{"type": "function"}]}, "tools[0].name is missing"),
            ({"tools": [for_chats(LEAVE)]}, "tools[0].name is missing"), ({"tools": [tool("a b")]}, 'tools[0].name is "a b"'),
            ({"tools": [tool("a"), tool("a")]}, "tools[1].name is that of tools[0]"), ({"tools": [tool() for _ in range(129)]}, "tools has 129 tools, the limit is 128"),
            ({"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]}, "tools[0].parameters.type"),
            ({"tools": [tool(), tool("g", properties={"x": {"not": {}}})]}, 'tools[1].parameters: #/properties/x/not: the keyword "not"'),
            ({"tool_choice": "required"}, "tool_choice is required, and there are no tools"), ({"tools": [tool()], "tool_choice": "maybe"}, 'tool_choice is "maybe"'),
            ({"tools": [tool()], "tool_choice": {"type": "function", "name": "g"}}, 'tool_choice.name is "g": there is no such tool'),
            ({"tools": [tool()], "tool_choice": {"type": "web_search"}}, 'tool_choice.type is "web_search"'),
            ({"tools": [tool()], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.mode is missing"),
            ({"tools": [tool()], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.tools is []"),
            ({"tools": [tool()], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}}, 'tool_choice.tools[0].type is "mcp"'),
            ({"tools": [tool()], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}}, 'tool_choice.tools[0].name is "g"'),
            ({"parallel_tool_calls": 1}, "parallel_tool_calls is 1"),
            ({"input": [output]}, 'input[0].call_id is "call_1": no function_call before it'), ({"input": [output, call]}, "input[0].call_id"),
            ({"input": [call, {**output, "call_id": "call_2"}]}, 'input[1].call_id is "call_2"'), ({"input": [call, {**output, "call_id": None}]}, "input[1].call_id is missing"),
            ({"input": [call, {**output, "output": None}]}, "input[1].output is missing"), ({"input": [call, {**output, "output": 5}]}, "input[1].output is 5"),
            ({"input": [call, {**output, "output": [{"type": "sound"}]}]}, "input[1].output[0].type"), ({"input": [{**call, "status": "done"}]}, "input[0].status"),
            ({"input": [{**call, "name": None}]}, "input[0].name is missing"), ({"input": [{**call, "arguments": {}}]}, "input[0].arguments is {}"),
            ({"input": [call, {**output, "output": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}, "input[1].output[0]: "),
        ):
            with self.subTest(says=says):
                self.refused(server, 400, says, {"input": "x", **body}, path="/v1/responses")
