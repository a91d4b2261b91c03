// Detect and guard on the page.
#include <cmath>

#include "page/page.h"

namespace {

using namespace tap;
using namespace tap::browser;
using test::Page;
using test::sample;

const std::string families = TAPETUM_SOURCE_DIR "/tests/families/";

TEST_CASE("what is found is drawn where the server says, in the picture's own pixels") {
  Page page;
  page.mode("detect");
  page.choose(sample("roof.png"));
  page.submit("bird ; car ; house");
  page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  const Json reply = page.tab.evaluate(R"(fetch("/v1/detect", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ image: (() => {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 768;
      canvas.getContext("2d").drawImage(document.querySelector("#pictures img"), 0, 0);
      return canvas.toDataURL("image/png");
    })(), prompt: "bird ; car ; house", task: "detect" }) }).then((reply) => reply.json()))");
  const Json& objects = reply.at("objects");
  REQUIRE(objects.size() >= 4);
  REQUIRE(page.tab.evaluate("document.querySelectorAll('[data-testid=box]').length") == objects.size());

  const Json stage = page.place("#stage-picture");
  const double scale = (stage[2].get<double>() - stage[0].get<double>()) / reply.at("width").get<double>();
  CHECK(std::abs((stage[3].get<double>() - stage[1].get<double>()) / reply.at("height").get<double>() - scale) < 0.01);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const std::string name = std::to_string(i + 1) + ": " + objects[i].at("label").get<std::string>();
    CAPTURE(name);
    // fill-box: the geometry itself, without the width of its line.
    const Json drawn = page.tab.call(R"((name) => {
      const box = document.querySelector(`[data-testid=box][aria-label^="${name},"] .box.line`);
      const { x, y, width, height } = box.getBBox(), to = box.getScreenCTM();
      const [from, end] = [new DOMPoint(x, y), new DOMPoint(x + width, y + height)].map((point) => point.matrixTransform(to));
      return [from.x, from.y, end.x, end.y];
    })",
                                     {name});
    for (std::size_t k = 0; k < 4; ++k) {
      const double wanted = stage[k % 2].get<double>() + objects[i].at("box")[k].get<double>() * scale;
      CHECK(std::abs(drawn[k].get<double>() - wanted) < 0.5);
    }
    CHECK(page.text("#detections li:nth-child(" + std::to_string(i + 1) + ") .label") ==
          objects[i].at("label").get<std::string>());
  }
  page.picture("detect");
  page.tab.show_in(Media{.dark = true});
  page.picture("detect-dark");
}

TEST_CASE("hovering and focus light the same thing in the picture and in the list") {
  Page page;
  page.mode("detect");
  page.choose(sample("roof.png"));
  page.submit("bird ; car");
  page.tab.wait_until("document.querySelectorAll('[data-testid=box]').length >= 3");
  const auto lit = [&] {
    return page.tab.evaluate(
        "[...document.querySelectorAll('.lit')].map((one) => one.getAttribute('aria-label') ?? "
        "one.querySelector('.number').textContent)"
        ".map((name) => name.split(':')[0])");
  };
  CHECK(lit() == Json::array());
  page.tab.move_to(page.tab.place_of("#detections li:nth-child(2) button"));
  CHECK(lit() == Json{"2", "2"});
  page.picture("detect-hover", false);
  page.tab.move_to(page.tab.place_of("[data-testid=box][aria-label^='1:']"));
  CHECK(lit() == Json{"1", "1"});
  page.tab.move_to({2, 2});
  CHECK(lit() == Json::array());
  page.tab.click("#detections li:nth-child(3) button");
  CHECK(page.tab.evaluate("document.querySelectorAll('#detections [aria-pressed=true]').length") == 1);
  page.tab.move_to({2, 2});
  CHECK(lit() == Json{"3", "3"});
  page.tab.press("ArrowUp");  // the list is one stop of Tab; arrows go through it
  CHECK(lit() == Json{"2", "2"});
  page.tab.press("Home");
  CHECK(lit() == Json{"1", "1"});
}

TEST_CASE("a picture that is not square, and one that cannot be found anything in") {
  Page page;
  page.tab.evaluate(R"(new Promise((done) => {
    const canvas = document.createElement("canvas");
    canvas.width = 640; canvas.height = 200;
    canvas.getContext("2d").fillRect(100, 50, 80, 80);
    canvas.toBlob((blob) => {
      const data = new DataTransfer();
      data.items.add(new File([blob], "wide.png", { type: "image/png" }));
      document.querySelector("#picture-input").files = data.files;
      document.querySelector("#picture-input").dispatchEvent(new Event("change"));
      done();
    });
  }))");
  page.tab.wait_until("document.querySelectorAll('#pictures img').length");
  page.mode("detect");
  page.submit("cat");
  page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  const Json stage = page.place("#stage");
  CHECK(std::abs((stage[2].get<double>() - stage[0].get<double>()) / (stage[3].get<double>() - stage[1].get<double>()) -
                 3.2) < 0.02);
  CHECK(page.tab.evaluate("document.querySelector('#overlay').getAttribute('viewBox')") == "0 0 640 200");
  CHECK(page.text("#panel-detect .verdict") == "Nothing found.");
}

TEST_CASE("masks are drawn pixel by pixel, and broken ones are refused") {
  Page page;
  const std::string load = "import('/detect.js').then(({ decodeRuns, maskPath, showDetections }) => ";
  // What pycocotools writes for [[0,1,1,0],[0,1,0,0],[0,0,0,1]].
  CHECK(page.tab.evaluate(load + "decodeRuns('321O30', 3, 4))") == Json{3, 2, 1, 1, 4, 1});
  CHECK(page.tab.evaluate(load + "maskPath([3, 2, 1, 1, 4, 1], 3, 4))") == "M1 0h1v2h-1zM2 0h1v1h-1zM3 2h1v1h-1z");
  for (const char* wrong : {"'321O3', 3, 4", "'321O30', 3, 5", "'321O3P', 3, 4", "'3 2', 3, 4", "'', 3, 4", "7, 3, 4",
                            "'321O30', 1e9, 1e9", "'321O30', 0, 4"}) {
    CAPTURE(wrong);
    CHECK_THROWS_WITH_AS(page.tab.evaluate(load + "decodeRuns(" + wrong + "))"),
                         doctest::Contains("A mask cannot be read: "), Error);
  }

  // A reply with a mask, drawn by the page's own code: the pixels of the picture are those of the mask.
  page.mode("detect");
  page.tab.evaluate(load + R"(showDetections(
    { width: 4, height: 3, objects: [{ label: "thing", box: [1, 0, 4, 3], mask: { size: [3, 4], counts: "321O30" } }] },
    { width: 0, height: 0, name: "none", url: "" },
    Object.fromEntries([["stage", "stage"], ["image", "stage-picture"], ["overlay", "overlay"], ["list", "detections"], ["counts", "counts"]]
      .map(([name, id]) => [name, document.getElementById(id)])))))");
  CHECK(page.tab.evaluate(R"([...Array(3)].map((_, y) => [...Array(4)].map((_, x) =>
    document.querySelector(".mask").isPointInFill(new DOMPoint(x + 0.5, y + 0.5)) ? 1 : 0)))") ==
        Json{{0, 1, 1, 0}, {0, 1, 0, 0}, {0, 0, 0, 1}});
  page.picture("masks");
}

TEST_CASE("a guard's verdicts are shown with their scores") {
  Page page;
  page.mode("guard");
  page.choose(sample("roof.png"));
  page.choose(TAPETUM_SOURCE_DIR "/tests/data/guard/dangerous.png");
  page.tab.click("#ask");
  page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  CHECK(page.text("#panel-guard .verdict") == "Flagged: dangerous");
  CHECK(page.tab.evaluate("[...document.querySelectorAll('caption')].map((one) => one.textContent)") ==
        Json{"roof.png: not flagged", "dangerous.png: flagged"});
  CHECK(page.tab.evaluate("[...document.querySelectorAll('td:last-child')].map((one) => one.textContent)") ==
        Json{"passed", "flagged"});
  CHECK(page.text("table:last-child td").starts_with("0."));
  page.picture("guard");
}

TEST_CASE("a model that is no guard, or finds nothing by name, says so") {
  Page page({"-m", families + "smolvlm/checkpoint"});
  page.expected = "400 (Bad Request)";
  page.mode("guard");
  CHECK(page.text("#model-note") == "None of the models here says that it can guard.");
  page.choose(sample("roof.png"));
  page.tab.click("#ask");
  page.tab.wait_until("document.querySelector('#error').textContent.includes('this server has no guard')");
  page.picture("no-guard");
  page.mode("detect");
  CHECK(page.text("#model-note") == "None of the models here says that it can detect.");
}

}  // namespace
