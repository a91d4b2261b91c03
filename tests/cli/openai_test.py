"""tapetum serve through the clients that people use: the `openai` package, smolagents, curl."""

import asyncio
import enum
import json
import math
import shutil
import subprocess

import openai
import pydantic

from server import ServerCase, about, data_url
from support import NANO, ROOT, SAMPLES, environment

ROOF = "What is on the roof?"


class Animal(enum.Enum):
    bird = "bird"
    cat = "cat"
    dog = "dog"


class Seen(pydantic.BaseModel):
    animal: Animal
    count: int = pydantic.Field(ge=0, le=20)
    indoors: bool
    note: str | None


class OpenAI(ServerCase):
    def client(self, server, kind=openai.OpenAI):
        client = kind(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)
        if kind is openai.OpenAI:
            self.addCleanup(client.close)
        return client

    def served(self, *args):
        server = self.serve(*args)
        return server, self.client(server)

    def test_openai_embeds_and_moderates(self):
        server, client = self.served()
        packed = client.embeddings.create(model="nano", input=["a cat", "a bird"])  # the client asks for base64
        plain = client.embeddings.create(model="nano", input=["a cat", "a bird"], encoding_format="float")
        self.assertEqual([one.index for one in packed.data], [0, 1])
        for a, b in zip(packed.data, plain.data):
            self.assertEqual(len(a.embedding), len(b.embedding))
            for x, y in zip(a.embedding, b.embedding):
                self.assertAlmostEqual(x, y, places=5)
        self.assertGreater(packed.usage.prompt_tokens, 2)
        picture = {"type": "image_url", "image_url": {"url": data_url(ROOT / "tests/data/guard/dangerous.png")}}
        verdict = client.moderations.create(input=[picture])
        self.assertTrue(verdict.results[0].flagged)
        self.assertGreater(verdict.results[0].category_scores.model_dump()["dangerous"], 0.5)

    def test_openai_lists_models_and_asks_about_a_picture(self):
        server, client = self.served()
        self.assertEqual([model.id for model in client.models.list()], ["nano"])
        answer = client.chat.completions.create(model="nano", messages=about("roof.png", ROOF))
        self.assertEqual(answer.choices[0].message.content, "A white bird")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_openai_streams_with_usage(self):
        _, client = self.served()
        whole = client.chat.completions.create(model="nano", messages=about("roof.png", ROOF))
        chunks = list(client.chat.completions.create(model="nano", messages=about("roof.png", ROOF), stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), whole.choices[0].message.content)
        self.assertEqual([bool(chunk.choices) for chunk in chunks], [True] * (len(chunks) - 1) + [False])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "stop")
        with client.chat.completions.stream(model="nano", messages=about("roof.png", ROOF)) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_completion().choices[0].message.content, whole.choices[0].message.content)

    def test_openai_asynchronous_clients_at_once_each_get_their_answer(self):
        server, client = self.served()
        names = [path.name for path in sorted(SAMPLES.glob("*.png"))]
        alone = [client.chat.completions.create(model="nano", messages=about(name, ROOF)).choices[0].message.content for name in names]

        async def one(number):
            async with self.client(server, openai.AsyncOpenAI) as asking:
                messages = about(names[number % len(names)], ROOF)
                if number % 2:
                    return (await asking.chat.completions.create(model="nano", messages=messages)).choices[0].message.content
                stream = await asking.chat.completions.create(model="nano", messages=messages, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def all_of_them():
            return await asyncio.gather(*map(one, range(3 * len(names))))

        self.assertEqual(asyncio.run(all_of_them()), alone * 3)

    def test_openai_options_of_sampling(self):
        _, client = self.served()

        def ask(**options):
            return client.chat.completions.create(model="nano", messages=about("yard.png", "What is in the image?"), **options)

        several = ask(n=3, temperature=1.5, seed=7, max_completion_tokens=12)
        self.assertEqual([choice.index for choice in several.choices], [0, 1, 2])
        again = ask(n=3, temperature=1.5, seed=7, max_completion_tokens=12)
        self.assertEqual([choice.message.content for choice in several.choices], [choice.message.content for choice in again.choices])
        whole = ask()
        word = whole.choices[0].message.content.split()[1]
        stopped = ask(stop=[word])
        self.assertEqual(stopped.choices[0].message.content, whole.choices[0].message.content.partition(word)[0].strip())
        cut = ask(max_tokens=1)
        self.assertEqual((cut.choices[0].finish_reason, cut.usage.completion_tokens), ("length", 1))
        scored = ask(logprobs=True, top_logprobs=4).choices[0].logprobs.content
        self.assertEqual(b"".join(bytes(token.bytes) for token in scored).decode().strip(), whole.choices[0].message.content)
        for token in scored:
            self.assertEqual(len(token.top_logprobs), 4)
            self.assertLessEqual(sum(math.exp(top.logprob) for top in token.top_logprobs), 1 + 1e-4)

    def test_openai_logit_bias_bans_and_forces_tokens(self):
        server, client = self.served()

        def ids(text):
            return json.loads(server.ask("POST", "/v1/tokenize", {"prompt": text})[2])["tokens"]

        def ask(**options):
            return client.chat.completions.create(model="nano", messages=about("roof.png", ROOF), **options).choices[0]

        plain = ask(logprobs=True)
        said = [token for token in plain.logprobs.content]
        word = ids(plain.message.content.split()[-1])[-1]
        spaced = ids(" " + plain.message.content.split()[-1])[-1]
        banned = ask(logit_bias={str(word): -100, str(spaced): -100})
        self.assertNotIn(plain.message.content.split()[-1], banned.message.content)
        forced = ids("Z")[-1]
        flood = ask(logit_bias={forced: 100}, max_tokens=5, logprobs=True)
        self.assertEqual(flood.message.content, "ZZZZZ")
        self.assertLess(flood.logprobs.content[0].logprob, said[0].logprob, "log-probabilities are the model's own")
        held = ask(logit_bias={forced: 100}, extra_body={"guided_choice": ["cat", "dog"]})
        self.assertIn(held.message.content, ("cat", "dog"), "the form holds whatever the bias")
        messages = [{"role": "user", "content": "Hi"}]
        for bias, says in (({"1": 101}, "logit_bias.1 is 101"), ({"99999999": 1}, "logit_bias has the key \"99999999\""), ({"-1": 1}, "logit_bias has the key"),
                           ({"x": 1}, "logit_bias has the key \"x\""), ({"1": "x"}, "logit_bias.1 is \"x\""), ({"1": None}, "logit_bias.1 is null"), ([1], "logit_bias is [1]"),
                           ({str(i): 1 for i in range(2000)}, "logit_bias has 2000 tokens")):
            with self.subTest(bias=says):
                self.refused(server, 400, says, {"messages": messages, "logit_bias": bias})

    def test_openai_parses_structured_outputs(self):
        _, client = self.served()
        for seed in range(4):
            answer = client.chat.completions.parse(model="nano", messages=about("roof.png", ROOF), response_format=Seen, temperature=1, seed=seed)
            self.assertIsInstance(answer.choices[0].message.parsed, Seen)
        answer = client.chat.completions.create(model="nano", messages=about("roof.png", ROOF), response_format={"type": "json_object"}, temperature=0.5, max_tokens=400)
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)

    def test_openai_errors_are_those_of_the_client(self):
        server, client = self.served("--api-key", "secret")
        with self.assertRaises(openai.AuthenticationError):
            client.models.list()
        known = client.with_options(api_key="secret")
        with self.assertRaises(openai.NotFoundError):
            known.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hi"}])
        with self.assertRaises(openai.BadRequestError) as refused:
            known.chat.completions.create(model="nano", messages=[{"role": "user", "content": "Hi"}], response_format={
                "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"not": {}}}}}})
        self.assertIn("response_format.json_schema.schema: schema: #/properties/a/not", refused.exception.message)
        self.assertEqual(refused.exception.param, "response_format.json_schema.schema")
        known.chat.completions.create(model="nano", messages=[{"role": "user", "content": "Hi"}], max_tokens=1)
        server.ask = lambda *args, asked=server.ask, **kwargs: asked(*args, headers={"Authorization": "Bearer secret"}, **kwargs)

    def test_smolagents_generates_with_and_without_a_picture(self):
        import PIL.Image
        import smolagents

        server, _ = self.served()
        model = getattr(smolagents, "OpenAIModel", None) or smolagents.OpenAIServerModel
        model = model(model_id="nano", api_base=server.url + "/v1", api_key="none", max_tokens=300)
        plain = model.generate([smolagents.ChatMessage(role="user", content=[{"type": "text", "text": "Is there a bird?"}])])
        self.assertTrue(plain.content)
        picture = PIL.Image.open(SAMPLES / "roof.png")
        seen = model.generate([smolagents.ChatMessage(role="user", content=[{"type": "image", "image": picture}, {"type": "text", "text": ROOF}])])
        self.assertEqual(seen.content, "A white bird")
        tool = smolagents.tool(look)
        called = model.generate([smolagents.ChatMessage(role="user", content=[{"type": "text", "text": "Look."}])], tools_to_call_from=[tool])
        self.assertEqual(called.tool_calls[0].function.name, "look")
        self.assertIsInstance(json.loads(called.tool_calls[0].function.arguments)["up"], bool)

    def test_curl_shows_the_answer_as_it_comes(self):
        server, _ = self.served()
        body = {"messages": about("roof.png", ROOF), "stream": True, "guided_regex": "[a-z ]{150}"}
        asking = subprocess.Popen(["curl", "--no-buffer", "--silent", "--show-error", "--noproxy", "*", server.url + "/v1/chat/completions",
                                   "-H", "Content-Type: application/json", "--data-binary", "@-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        asking.stdin.write(json.dumps(body).encode())
        asking.stdin.close()
        first = asking.stdout.readline()
        self.assertIsNone(asking.poll(), "the first piece came when all of them were there")
        rest = asking.stdout.read().decode()
        asking.stdout.close()
        self.assertEqual(asking.wait(30), 0)
        self.assertTrue(first.startswith(b'data: {"id":"chatcmpl-'), first)
        self.assertTrue(rest.endswith("\n\ndata: [DONE]\n\n"), rest[-200:])


def look(up: bool) -> str:
    """Looks up or down.

    Args:
        up: Whether up.
    """
    return "the sky" if up else "the floor"


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}, "strict": True}}
CLICK = {"type": "function", "function": {"name": "click", "description": "Clicks", "parameters": {
    "type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}, "why": {"type": "string", "maxLength": 8}}, "required": ["x"]}}}
LEAVE = {"type": "function", "function": {"name": "leave"}}


class Tools(ServerCase):
    def served(self):
        server = self.serve()
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)
        self.addCleanup(client.close)
        return server, client

    def check_call(self, call):
        arguments = json.loads(call.function.arguments)
        if call.function.name == "get_weather":
            self.assertIn(arguments["city"], ("Oslo", "Rome"))
            self.assertIn(arguments["days"], range(1, 10))
        elif call.function.name == "click":
            self.assertIn(arguments["x"], range(100))
        else:
            self.assertEqual((call.function.name, arguments), ("leave", {}))
        self.assertTrue(call.id.startswith("call_"))

    def test_tools_that_are_required_are_called_with_valid_arguments(self):
        _, client = self.served()
        names = set()
        for messages in (about("roof.png", ROOF), [{"role": "user", "content": "Is it warm?"}]):
            for seed in range(6):
                answer = client.chat.completions.create(model="nano", messages=messages, tools=[WEATHER, CLICK, LEAVE], tool_choice="required",
                                                        parallel_tool_calls=False, temperature=1, seed=seed)
                choice = answer.choices[0]
                self.assertEqual((choice.finish_reason, choice.message.content, len(choice.message.tool_calls)), ("tool_calls", None, 1))
                self.check_call(choice.message.tool_calls[0])
                names.add(choice.message.tool_calls[0].function.name)
        self.assertGreater(len(names), 1)

    def test_a_tool_that_is_named_is_the_one_that_is_called(self):
        _, client = self.served()
        for tool in (WEATHER, CLICK, LEAVE):
            name = tool["function"]["name"]
            answer = client.chat.completions.create(model="nano", messages=about("roof.png", ROOF), tools=[WEATHER, CLICK, LEAVE],
                                                    tool_choice={"type": "function", "function": {"name": name}}, temperature=1)
            self.assertEqual([call.function.name for call in answer.choices[0].message.tool_calls], [name])
            self.check_call(answer.choices[0].message.tool_calls[0])
        allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": name}} for name in ("click", "leave")]}
        names = {call.function.name for seed in range(6) for call in client.chat.completions.create(
            model="nano", messages=about("roof.png", ROOF), tools=[WEATHER, CLICK, LEAVE], tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
            parallel_tool_calls=False, temperature=1, seed=seed).choices[0].message.tool_calls}
        self.assertEqual(names, {"click", "leave"})

    def test_calls_are_streamed_piece_by_piece(self):
        _, client = self.served()
        options = {"model": "nano", "messages": about("roof.png", ROOF), "tools": [WEATHER, CLICK], "tool_choice": "required", "temperature": 1, "max_tokens": 300}
        several = 0
        for seed in range(6):
            whole = client.chat.completions.create(**options, seed=seed).choices[0]
            chunks = list(client.chat.completions.create(**options, seed=seed, stream=True))
            calls = {}
            for chunk in chunks:
                for piece in chunk.choices[0].delta.tool_calls or []:
                    if piece.id:
                        self.assertNotIn(piece.index, calls, "id and name come once")
                        calls[piece.index] = [piece.function.name, ""]
                    else:
                        self.assertIsNone(piece.function.name)
                    calls[piece.index][1] += piece.function.arguments
            self.assertEqual(list(calls), list(range(len(calls))))
            self.assertEqual(list(calls.values()), [[call.function.name, call.function.arguments] for call in whole.message.tool_calls])
            self.assertEqual(chunks[-1].choices[0].finish_reason, whole.finish_reason)
            self.assertFalse("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
            if whole.finish_reason == "tool_calls":
                for call in whole.message.tool_calls:
                    self.check_call(call)
            several += len(calls) > 1
        self.assertGreater(several, 0)

    def test_tools_that_may_be_called_leave_answers_free(self):
        server, client = self.served()
        options = {"model": "nano", "messages": about("roof.png", ROOF), "tools": [CLICK]}
        answer = client.chat.completions.create(**options).choices[0]
        self.assertEqual((answer.finish_reason, answer.message.tool_calls), ("stop", None))
        self.assertTrue(answer.message.content)
        none = client.chat.completions.create(**options, tool_choice="none")
        self.assertEqual(none.choices[0].message.content, "A white bird", "tools that may not be called are not told of")
        # Where the free answer is one that the model cannot give, it calls.
        tokens = {token for text in ("z", " z") for token in json.loads(server.ask("POST", "/v1/tokenize", {"prompt": text})[2])["tokens"]}
        biased = {"logit_bias": {str(token): -100 for token in tokens}, "extra_body": {"guided_choice": ["z"]}}
        called = client.chat.completions.create(**options, **biased, parallel_tool_calls=False).choices[0]
        self.assertEqual((called.finish_reason, called.message.content), ("tool_calls", None))
        self.check_call(called.message.tool_calls[0])
        self.assertEqual(client.chat.completions.create(**options, extra_body={"guided_choice": ["zz", "<<"]}, logit_bias={}).choices[0].finish_reason, "stop")

    def test_results_of_tools_go_back_to_the_model(self):
        _, client = self.served()
        messages = about("roof.png", ROOF)
        answer = client.chat.completions.create(model="nano", messages=messages, tools=[CLICK], tool_choice="required", parallel_tool_calls=False)
        call = answer.choices[0].message
        messages += [call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "A green door"}]
        said = client.chat.completions.create(model="nano", messages=messages, tools=[CLICK], tool_choice="none", max_tokens=20)
        self.assertGreater(said.usage.prompt_tokens, 60)
        self.assertTrue(said.choices[0].message.content)
        pydantic_tool = openai.pydantic_function_tool(Seen, name="see")
        parsed = client.chat.completions.parse(model="nano", messages=about("roof.png", ROOF), tools=[pydantic_tool], tool_choice="required", parallel_tool_calls=False)
        self.assertIsInstance(parsed.choices[0].message.tool_calls[0].function.parsed_arguments, Seen)

    def test_a_template_that_knows_tools_writes_them_itself(self):
        model = self.folder / "model"
        shutil.copytree(NANO, model)
        (model / "chat_template.json").unlink()
        (model / "chat_template.jinja").write_text(
            "{% if tools %}SIGNATURES{% for tool in tools %}{{ tool | tojson }}{% endfor %}\n{% endif %}{% for m in messages %}{{ m.role }}: "
            "{% for p in m.content %}{{ p.text if p.type == 'text' else '<image>' }}{% endfor %}"
            "{% for call in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ call.function.name }}\", \"arguments\": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}"
            "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}")
        server = self.serve("--model", model)

        def count(messages, **more):
            return json.loads(server.ask("POST", "/v1/tokenize", {"messages": messages, **more})[2])["count"]

        user, result = {"role": "user", "content": "Hi"}, {"role": "tool", "tool_call_id": "1", "content": "done"}
        called = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "click", "arguments": "{\"x\": 12}"}}]}
        self.assertGreater(count([user], tools=[CLICK]), count([user]) + 30)
        self.assertEqual(count([user], tools=[CLICK], tool_choice="none"), count([user]))
        self.assertGreater(count([user, called, result]), count([user, result]) + 10)
        for seed in range(3):
            answer = server.chat([user, called, result], tools=[CLICK, LEAVE], tool_choice="required", parallel_tool_calls=False, temperature=1, seed=seed)
            call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
            self.assertIn(call["name"], ("click", "leave"))
            json.loads(call["arguments"])

    def test_a_call_that_is_cut_says_length(self):
        _, client = self.served()
        answer = client.chat.completions.create(model="nano", messages=about("roof.png", ROOF), tools=[CLICK], tool_choice="required", max_tokens=45)
        self.assertEqual(answer.choices[0].finish_reason, "length")

    def test_serve_says_what_is_wrong_with_tools(self):
        server, _ = self.served()
        base = {"messages": [{"role": "user", "content": "Hi"}]}

        def tool(name="f", **parameters):
            return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}

        for body, says in (
            ({"tools": {}}, "tools is {}: must be a list"),
            ({"tools": [{"type": "web"}]}, "tools[0].type is \"web\""),
            ({"tools": [{"type": "function"}]}, "tools[0].function is missing"),
            ({"tools": [tool("a b")]}, "tools[0].function.name is \"a b\""),
            ({"tools": [tool("a"), tool("a")]}, "tools[1].function.name is that of tools[0]"),
            ({"tools": [tool() for _ in range(129)]}, "tools has 129 tools, the limit is 128"),
            ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]}, "tools[0].function.parameters.type"),
            ({"tools": [tool(), tool("g", properties={"x": {"not": {}}})]}, "tools[1].function.parameters: #/properties/x/not: the keyword \"not\""),
            ({"tool_choice": "required"}, "tool_choice is required, and there are no tools"),
            ({"tools": [tool()], "tool_choice": "maybe"}, "tool_choice is \"maybe\""),
            ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice.function.name is \"g\""),
            ({"tools": [tool()], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}}},
             "tool_choice.allowed_tools.tools[0].function.name is \"g\""),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id is missing"),
            ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
            ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content is missing"),
            ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages[0].tool_calls[0].function.name is missing"),
            ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}]}, "messages[0].tool_calls[0].function.arguments is 3"),
        ):
            with self.subTest(says=says):
                self.refused(server, 400, says, {**base, **body})
