#include <cstdio>

int main() {
  std::puts("tapetum " TAPETUM_VERSION);
  return 0;
}
