// The whole of tapetum: look at pictures and say what is in them.
//
//   #include <tapetum/tapetum.h>
//   const tap::Model model = tap::Model::load();
//   std::cout << model.ask(tap::Image::load("roof.png"), "What is on the roof?").text << "\n";
//
// docs/guide/cpp.md is the guide.
#pragma once

#include <tapetum/answer.h>
#include <tapetum/error.h>
#include <tapetum/guard.h>
#include <tapetum/image.h>
#include <tapetum/message.h>
#include <tapetum/model.h>
#include <tapetum/version.h>
