// One page of a browser: loaded, asked, used as a person uses it, and looked at. Coordinates are CSS pixels of the
// viewport. Everything throws Error: bad_input for what the page or the browser says against it, io when the browser
// is gone or takes too long, cancelled.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "browser/connection.h"

namespace tap::browser {

struct Point {
  double x = 0, y = 0;
};

// Something that a page's author would see in the browser's console.
struct Note {
  enum class Kind { console, exception, browser };  // browser: a refused policy, a failed load, a deprecation
  Kind kind = Kind::console;
  std::string level, text;  // "error", "warning", "info" …
};

struct Request {
  std::string id, method, url;
  int status = 0;     // 0: no answer came
  std::string error;  // "net::ERR_ABORTED", "blocked: csp"; empty: none
};

// A node of the tree that assistive technology is given.
struct AxNode {
  std::string role, name, description, value;
  bool focusable = false, focused = false, disabled = false;
  long dom_id = 0;  // the protocol's backendDOMNodeId
};

struct Media {
  bool dark = false, reduced_motion = false, forced_colors = false;
};

struct Viewport {
  int width = 1280, height = 800;
  double scale = 1;     // device pixels of a CSS pixel
  bool mobile = false;  // with touch instead of a mouse
};

class Tab {
 public:
  // Of an attached session; Browser::open is the usual way.
  Tab(std::shared_ptr<Connection> connection, std::string target, std::string session, double patience_s);
  ~Tab();
  Tab(Tab&&) noexcept;

  void go(const std::string& url);  // until the page's load event
  void reload();
  void close();
  void set_patience(double seconds) { patience_s_ = seconds; }  // for each wait

  // The value of an expression, promises awaited; undefined is null. What the page throws is an Error.
  Json evaluate(const std::string& expression);
  // function(arguments…), e.g. call("(a, b) => a + b", {1, 2}).
  Json call(std::string_view function, const Json& arguments = Json::array());
  // Until the expression is true in JavaScript's sense; gives its value. Exceptions mean "not yet".
  Json wait_until(const std::string& expression);

  // ---- as a person: input.cpp
  // The middle of the first element that the CSS selector finds, scrolled into view. Throws where there is none, or
  // something else lies over it there.
  Point place_of(std::string_view selector);
  void move_to(Point at);
  void click(Point at, int count = 1);
  void click(std::string_view selector) { click(place_of(selector)); }
  void drag(Point from, Point to);
  void press(std::string_view chord);  // keys.h: "Enter", "Control+v"
  void type(std::string_view text);    // into what has the focus
  void set_files(std::string_view selector, const std::vector<std::string>& paths);
  void drop_files(Point at, const std::vector<std::string>& paths);

  // ---- how it is shown, and what is seen: view.cpp
  void show_in(const Media& media);
  void show_in(const Viewport& viewport);
  void slow_down(int bytes_per_s);                  // what comes over the network; 0: as fast as it is
  std::string screenshot(bool whole_page = false);  // a PNG file's bytes
  std::vector<AxNode> accessibility();              // without what is ignored

  // ---- what has happened since the tab was opened, or since forget()
  const std::vector<Note>& notes();
  const std::vector<Request>& requests();
  void forget();

 private:
  struct Seen;
  Json command(std::string_view method, const Json& params = Json::object());
  void wait_for_load(std::size_t loads_before, Deadline deadline);
  std::string object_of(std::string_view selector);  // the protocol's id of an element
  void mouse(std::string_view type, Point at, int buttons, int count = 0);

  std::shared_ptr<Connection> connection_;
  std::string target_, session_;
  double patience_s_;
  std::shared_ptr<Seen> seen_;
};

}  // namespace tap::browser
