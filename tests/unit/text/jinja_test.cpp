// The language: every case of tests/data/jinja/cases.json renders as jinja2 rendered it (tools/goldens/jinja_cases.py).
#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>

#include "base/file.h"
#include "text/chat_template.h"

using namespace tap;

namespace {

constexpr std::int64_t now_unix = 1753956000;  // as in tools/goldens/jinja_environment.py

Json data(const std::string& name) {
  const std::string path = std::string(TAPETUM_SOURCE_DIR) + "/tests/data/jinja/" + name;
  return parse_json(read_file(path, std::size_t{1} << 20).value(), path).value();
}

std::string outcome(const std::string& source, const Json& variables) {
  TemplateOptions options;
  options.now_unix = now_unix;
  options.limits.cpu_ms = 20000;
  const auto program = ChatTemplate::parse(source, "case");
  if (!program) return "error: " + program.error().message();
  const auto text = program->render_text(variables, options);
  return text ? *text : "error: " + text.error().message();
}

std::string error_of(const std::string& source, const Json& variables = Json::object()) {
  const auto program = ChatTemplate::parse(source, "t");
  if (!program) return program.error().message();
  const auto text = program->render_text(variables);
  return text ? "rendered: " + *text : text.error().message();
}

}  // namespace

TEST_CASE("every feature of the language renders as jinja2 renders it") {
  setenv("TZ", "UTC", 1);
  tzset();
  const Json all = data("cases.json");
  REQUIRE(all["cases"].size() >= 200);
  for (const Json& item : all["cases"]) {
    CAPTURE(item["name"].get<std::string>());
    const std::string got = outcome(item["template"].get<std::string>(), all["variables"]);
    if (item.contains("text")) CHECK(got == item["text"].get<std::string>());
    else if (item["error"].is_string()) CHECK(got == "error: " + item["error"].get<std::string>());
    else CHECK(got.starts_with("error: "));
  }
}

TEST_CASE("an error names template and line and reason") {
  CHECK(error_of("a\nb\n{{ missing.x }}") == "t: line 3: 'missing' is undefined");
  CHECK(error_of("{% if true %}\n\n{{ 'a' + 1 }}{% endif %}") ==
        "t: line 3: unsupported operand type(s) for +: 'str' and 'int'");
  CHECK(error_of("a\n{% if x %}") == "t: line 2: unexpected end of the template: 'elif' is missing");
  CHECK(error_of("\n\n{% nope %}") == "t: line 3: encountered unknown tag 'nope'");
  CHECK(error_of("{{ 1|nope }}") == "t: line 1: no filter named 'nope'");
  CHECK(error_of("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n\n{{ m() }}") ==
        "t: line 2: integer division or modulo by zero");
}

TEST_CASE("raise_exception gives exactly the message of the template") {
  const auto program = ChatTemplate::parse("{{ raise_exception('Roles must alternate:\\n' ~ role) }}", "t").value();
  const auto result = program.render({{"role", "x"}});
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().message() == "Roles must alternate:\nx");
  CHECK(result.error().code() == ErrorCode::bad_input);
}

TEST_CASE("integers over 64 bits are errors and not wrong numbers") {
  for (const char* source : {"{{ 9223372036854775807 + 1 }}", "{{ 2 ** 64 }}", "{{ -9223372036854775807 - 2 }}",
                             "{{ 4000000000 * 4000000000 }}", "{{ '99999999999999999999'|int }}",
                             "{{ (-9223372036854775807 - 1) // -1 }}", "{{ 99999999999999999999 }}"})
    CHECK(error_of(source).find("rendered") == std::string::npos);
  CHECK(error_of("{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }} {{ (-9223372036854775807 - 1) % -1 }}") ==
        "rendered: 9223372036854775807 -9223372036854775808 0");
}

TEST_CASE("text that is not UTF-8 is refused in templates and replaced in variables") {
  CHECK(error_of("a\xFF") == "t: the template is not UTF-8");
  CHECK(error_of("{{ x|length }}{{ x }}", {{"x", "a\xF0\x9F\x90\xFF" "b\xED\xA0\x80"}}) ==
        "rendered: 7a\xEF\xBF\xBD\xEF\xBF\xBD" "b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("mentions tells which variables and keys a template reads") {
  const auto program =
      ChatTemplate::parse("{% for m in messages %}{{ m['content'] }}{{ m.role }}{% endfor %}{% if tools %}{% endif %}",
                          "t")
          .value();
  for (const char* name : {"messages", "content", "role", "tools"}) CHECK(program.mentions(name));
  CHECK_FALSE(program.mentions("documents"));
}

TEST_CASE("[B09] endless loops and recursion and huge values end in an error with bounded memory") {
  const auto limit_error = [](const std::string& source, const Json& variables = Json::object()) {
    CAPTURE(source.substr(0, 200));
    const auto program = ChatTemplate::parse(source, "t");
    if (!program) {
      CHECK(program.error().message().find("nested more than") != std::string::npos);
      return;
    }
    const auto result = program->render(variables);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code() == ErrorCode::limit);
  };
  limit_error(
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% "
      "endfor %}");
  limit_error("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}");
  limit_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  limit_error("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}");
  limit_error("{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}");
  limit_error("{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}");
  limit_error("{{ 'a' * 10**9 }}");
  limit_error("{{ 'a' * 10**18 }}");
  limit_error("{{ [0] * 10**12 }}");
  limit_error("{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}");
  limit_error("{{ ('a' * 1000000).split('a')|join('c' * 1000) }}");
  limit_error("{{ '%999999999d' % 1 }}");
  limit_error("{{ '{:999999999}'.format(1) }}");
  limit_error("{{ '%.999999999f' % 1.5 }}");
  limit_error("{{ '%.*f' % (9223372036854775807, 1.5) }}");
  limit_error("{{ 'a'.center(10**9) }}");
  limit_error("{{ 'a'|indent(10**9, true) }}");
  limit_error("{{ [1]|tojson(indent=10**9) }}");
  limit_error("{% set ns = namespace(s='ab') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}");
  limit_error("{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = ns.l + ns.l %}{% endfor %}");
  limit_error(
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}");
  limit_error(
      "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, "
      "ns.m] %}{% endfor %}{{ ns.l == ns.m }}");
  limit_error(
      "{% set ns = namespace(l=(1,)) %}{% for i in range(60) %}{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ {ns.l: 1} "
      "}}");
  limit_error("{% set ns = namespace(l=[]) %}{% for i in range(10000) %}{% set ns.l = [ns.l] %}{% endfor %}");
  limit_error(
      "{% set ns = namespace(g=[1]) %}{% for i in range(10000) %}{% set ns.g = ns.g|map('upper') %}{% endfor %}");
  limit_error("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}");
  limit_error(
      "{% set ns = namespace(l=[]) %}{% for i in range(300) %}{% set ns.l = ns.l + ['a' * 1000000 ~ i] %}{% endfor %}");
  limit_error(
      "{% for i in range(99999) %}{% macro m() %}{% endmacro %}{% set x = namespace(a=1) %}{{ "
      "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}");
  limit_error("{{ ('a' * 4000000).rpartition('a' * 2000000 ~ 'b') }}");
  limit_error("{{ " + std::string(100, '(') + "1" + std::string(100, ')') + " }}");
  limit_error("{{ " + std::string(60000, '(') + "1" + std::string(60000, ')') + " }}");
  limit_error("{{ " + std::string(60000, '[') + std::string(60000, ']') + " }}");
  limit_error("{{ " + std::string(60000, '-') + "1 }}");
  std::string nots = "{{ ", blocks;
  for (int i = 0; i < 10000; ++i) nots += "not ", blocks += "{% if 1 %}";
  limit_error(nots + "1 }}");
  limit_error(blocks);
  limit_error("{{ text|upper }}", {{"text", std::string(std::size_t{5} << 20, 'x')}});
}

TEST_CASE("[B09] long flat expressions need no deep stack") {
  std::string sum = "{{ 0", chain = "{{ 'a'", elifs = "{% if false %}", concat = "{{ 1";
  for (int i = 0; i < 20000; ++i) sum += " + 1", concat += " ~ 1", elifs += "{% elif false %}";
  for (int i = 0; i < 5000; ++i) chain += "|upper";
  CHECK(error_of(sum + " }}") == "rendered: 20000");
  CHECK(error_of(concat + " }}") == "rendered: " + std::string(20001, '1'));
  CHECK(error_of(elifs + "{% else %}z{% endif %}") == "rendered: z");
  CHECK(error_of(chain + " }}").find("in a row") != std::string::npos);
}

TEST_CASE("[B09] the sandbox shows no attribute that begins with an underscore and changes nothing") {
  for (const char* source :
       {"{{ ''.__class__.__mro__ }}", "{{ ''['__class__']['__base__'] }}", "{{ ''|attr('__class__')|attr('__mro__') }}",
        "{{ [].__class__.__base__.__subclasses__() }}", "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ m.__globals__.x }}", "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}", "{{ range.__self__.x }}",
        "{{ [1].append(2) }}", "{{ {}.update({'a': 1}) }}", "{{ x.pop() }}", "{{ missing.__class__.x }}",
        "{{ [['__class__']]|map(attribute='0.__class__.x')|list }}"}) {
    CAPTURE(std::string(source));
    CHECK(error_of(source, {{"x", {{"a", 1}}}}).find("rendered") == std::string::npos);
  }
  CHECK(error_of("{{ ''.__class__ }}{{ x.__dict__ }}{{ x._a }}", {{"x", {{"_a", 1}}}}) == "rendered: 1");
}

TEST_CASE("mutated templates either render or give an error") {
  const Json all = data("cases.json");
  std::uint64_t state = 0x9E3779B97F4A7C15ULL;
  const auto random = [&](std::size_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return static_cast<std::size_t>(state % below);
  };
  std::vector<std::string> sources;
  for (const Json& item : all["cases"]) sources.push_back(item["template"].get<std::string>());
  const std::string pieces[] = {"{{",        "}}",     "{%",   "%}",        "{#",  "#}",   "-",         "(",
                                ")",         "[",      "]",    "|",         ".",   "'",    "for x in ", "if ",
                                "endif",     "endfor", "loop", "namespace", " * ", " ** ", "99999",     "range",
                                "recursive", "\\",     "~",    "%",         "é"};
  TemplateOptions options;
  options.limits.steps = 20000;
  int rendered = 0, failed = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string source = sources[random(sources.size())];
    for (std::size_t edit = 0; edit <= random(4); ++edit) {
      const std::size_t at = random(source.size() + 1);
      switch (random(4)) {
        case 0: source.erase(at, random(8)); break;
        case 1: source.insert(at, pieces[random(std::size(pieces))]); break;
        case 2: {
          const std::string& other = sources[random(sources.size())];
          const std::size_t from = random(other.size());
          source.insert(at, other.substr(from, random(60)));
          break;
        }
        default:
          if (at < source.size()) source[at] = static_cast<char>(32 + random(95));
      }
    }
    const auto program = ChatTemplate::parse(source, "fuzz");
    const bool good = program.ok() && program->render(all["variables"], options).ok();
    (good ? rendered : failed) += 1;
  }
  CHECK(rendered > 200);
  CHECK(failed > 200);
}
