// How a tab is shown, and what is seen of it.
#include "browser/tab.h"
#include "io/url.h"

namespace tap::browser {

namespace {

constexpr std::size_t most_png_bytes = std::size_t{192} << 20;

// {"type": "string", "value": "…"}, the protocol's form of values in the accessibility tree.
std::string ax_text(const Json& node, const char* key) {
  const auto found = node.find(key);
  if (found == node.end()) return {};
  const auto value = found->find("value");
  if (value == found->end()) return {};
  return value->is_string() ? value->get<std::string>() : to_json_line(*value);
}

}  // namespace

void Tab::show_in(const Media& media) {
  const auto feature = [](const char* name, const char* value) { return Json{{"name", name}, {"value", value}}; };
  command(
      "Emulation.setEmulatedMedia",
      {{"features", Json::array({feature("prefers-color-scheme", media.dark ? "dark" : "light"),
                                 feature("prefers-reduced-motion", media.reduced_motion ? "reduce" : "no-preference"),
                                 feature("forced-colors", media.forced_colors ? "active" : "none")})}});
}

void Tab::show_in(const Viewport& viewport) {
  command("Emulation.setDeviceMetricsOverride", {{"width", viewport.width},
                                                 {"height", viewport.height},
                                                 {"deviceScaleFactor", viewport.scale},
                                                 {"mobile", viewport.mobile}});
  command("Emulation.setTouchEmulationEnabled", {{"enabled", viewport.mobile}});
}

void Tab::slow_down(int bytes_per_s) {
  const int limit = bytes_per_s > 0 ? bytes_per_s : -1;
  command("Network.emulateNetworkConditions",
          {{"offline", false}, {"latency", 0}, {"downloadThroughput", limit}, {"uploadThroughput", -1}});
}

std::string Tab::screenshot(bool whole_page) {
  Json how = {{"format", "png"}};
  if (whole_page) {
    const Json metrics = command("Page.getLayoutMetrics");
    const Json& size = member(metrics, "cssContentSize");
    how["captureBeyondViewport"] = true;
    how["clip"] = {
        {"x", 0}, {"y", 0}, {"width", member(size, "width")}, {"height", member(size, "height")}, {"scale", 1}};
  }
  const std::string data = text_at(command("Page.captureScreenshot", how), "data");
  return parse_data_url("data:image/png;base64," + data, most_png_bytes).value().bytes;
}

std::vector<AxNode> Tab::accessibility() {
  const Json tree = command("Accessibility.getFullAXTree");
  std::vector<AxNode> nodes;
  for (const Json& node : member(tree, "nodes")) {
    if (node.value("ignored", false)) continue;
    AxNode one{ax_text(node, "role"), ax_text(node, "name"), ax_text(node, "description"), ax_text(node, "value")};
    one.dom_id = node.value("backendDOMNodeId", 0L);
    for (const Json& property : node.value("properties", Json::array())) {
      const std::string name = text_at(property, "name");
      const bool on = ax_text(property, "value") == "true";
      if (name == "focusable") one.focusable = on;
      if (name == "focused") one.focused = on;
      if (name == "disabled") one.disabled = on;
    }
    nodes.push_back(std::move(one));
  }
  return nodes;
}

}  // namespace tap::browser
