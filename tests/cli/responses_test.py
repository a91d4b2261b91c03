"""/v1/responses, as OpenAI's client asks and reads it."""

import json

import openai
import pydantic
from server import ServerCase, about, data_url
from support import SAMPLES

ROOF = "What is on the roof?"


def seen(picture, question):
    return [{"role": "user", "content": [{"type": "input_image", "image_url": data_url(SAMPLES / picture), "detail": "auto"},
                                         {"type": "input_text", "text": question}]}]


class Responses(ServerCase):
    def client(self, server, key="none"):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0)
        self.addCleanup(client.close)
        return client

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
            ({"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]}, "input[0].type"), ({"input": [{"role": "me", "content": "x"}]}, "input[0].role"),
            ({"input": [{"content": "x"}]}, "input[0].role is missing"), ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}, "keeps no files"),
            ({"input": [{"role": "user", "content": [{"type": "sound"}]}]}, "input[0].content[0].type"),
            ({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "input[0].content[0]: model nano takes no audio"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}, "input[0].content[0]: "),
            ({"input": "x", "max_output_tokens": 0}, "max_output_tokens is 0"), ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
            ({"input": "x", "tools": [{"type": "web_search"}]}, "tools: this route calls no tools"), ({"input": "x", "background": True}, "background"),
            ({"input": "x", "temperature": -1}, "temperature"), ({"input": "x", "conversation": "conv_1"}, "conversation"), ({"input": "x", "metadata": {"a": 1}}, "metadata.a"),
        ):
            with self.subTest(body=body):
                self.refused(server, 400, says, body, path="/v1/responses")
        self.refused(server, 405, "takes POST only", None, path="/v1/responses", method="GET")
        self.refused(server, 404, "no such model", {"input": "x", "model": "other"}, path="/v1/responses")
