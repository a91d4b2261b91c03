// Questions and answers on the page.
#include "page/page.h"

namespace {

using namespace tap;
using namespace tap::browser;
using test::Page;
using test::sample;

TEST_CASE("a picture is chosen, a question asked, and the answer is the server's") {
  Page page;
  page.picture("empty");
  page.choose(sample("roof.png"));
  page.picture("chosen");
  const std::string answer = page.ask("What is on the roof?");
  CHECK(answer.find("bird") != std::string::npos);
  page.picture("answered");
  MESSAGE(page.text("#stats"));
}

}  // namespace
