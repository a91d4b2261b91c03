// A Chromium of our own: started without a window, with a profile that is made for it and removed with it, and spoken
// to over a socket that only we have. It ends with its object, and with this process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "browser/connection.h"
#include "browser/tab.h"

namespace tap::browser {

struct BrowserOptions {
  std::string program;  // empty: $TAPETUM_BROWSER, else the first Chromium or Chrome of the PATH
  int width = 1280, height = 800;
  double patience_s = 30;               // for each answer
  std::vector<std::string> flags = {};  // besides ours
};

// The path of the browser that would be started; empty where there is none.
std::string find_browser();

class Browser {
 public:
  // Throws Error: not_found where there is no browser, io when it does not start.
  explicit Browser(BrowserOptions options = {});
  ~Browser();  // ends all of its processes
  Browser(Browser&&) noexcept;

  // Speaks over `socket` to a browser that somebody else runs.
  Browser(Fd socket, BrowserOptions options);

  Tab open(const std::string& url = "about:blank");  // loaded, as Tab::go
  std::string version();                             // "Chrome/156.0.8078.108"
  // Lets pages of this origin do what a user would be asked about: "clipboardReadWrite", "videoCapture" …
  void grant(const std::string& origin, const std::vector<std::string>& permissions);

 private:
  Json call(std::string_view method, const Json& params);
  struct Process;
  BrowserOptions options_;
  std::unique_ptr<Process> process_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace tap::browser
