#define DOCTEST_CONFIG_IMPLEMENT
#include <iostream>
#include <string_view>

#include <doctest/doctest.h>

#include "browser/browser.h"

int main(int count, char** arguments) {
  doctest::Context context(count, arguments);
  const bool listing = count > 1 && std::string_view(arguments[1]).starts_with("--list");
  if (!listing && tap::browser::find_browser().empty()) {
    std::cout << "skipped: there is no Chromium here (apt-get install chromium)\n";
    return 77;
  }
  return context.run();
}
