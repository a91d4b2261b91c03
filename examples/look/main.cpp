// look PICTURE "QUESTION": one answer, as it is made.
#include <iostream>

#include <tapetum/tapetum.h>

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: look PICTURE \"QUESTION\"\n", 2;
  tap::Chat chat = tap::Model::load().chat();
  for (const std::string& piece : chat.stream(argv[2], {tap::Image::load(argv[1])})) std::cout << piece << std::flush;
  std::cout << "\n";
} catch (const tap::Error& error) {
  std::cerr << "look: " << error.what() << "\n";
  return 1;
}
