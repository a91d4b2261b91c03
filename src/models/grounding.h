// How a family is asked where things are, and how its answers say it. Data only: tasks ask and read by it.
#pragma once

#include <string>

#include "base/dim.h"

namespace tap {

struct Grounding {
  enum class Form {
    location_tokens,  // four of <loc0000>…<loc1023> a box, for masks 16 of <seg000>…<seg127> behind them, then a label
    json              // a list of objects with keys for a box or a point and for a label
  };
  Form form = Form::location_tokens;
  // A coordinate is value / range of the picture's edge. 0: pixels of the picture as the model saw it, that is of
  // ImagePlan::tile, which depends on the processor's limits.
  double range = 0;
  bool y_first = false;  // y1 x1 y2 x2 instead of x1 y1 x2 y2
  // The words to ask with, {} for the things. Empty: the family cannot.
  std::string detect = {}, segment = {}, point = {}, count = {};
  std::string separator = {};  // joins several things in one question; empty: one question each
  // How it is asked to use a screen, when it can: as UI-TARS, or by "click {}" with two tokens (y, x) for an answer.
  enum class Acting { no, ui_tars, click_tokens };
  Acting acting = Acting::no;
  std::string box_key = "bbox_2d", point_key = "point_2d", label_key = "label";  // of json
};

// PaliGemma's tokens count bins of round(v * 1023) (big_vision, pp/proj/paligemma/segmentation.py and its evaluators);
// the public demo, and what was copied from it, divides by 1024.
constexpr double location_range = 1023;

}  // namespace tap
