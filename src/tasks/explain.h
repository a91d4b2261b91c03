// Where a model looked while it answered: the attention of the answer's rows over a picture's rows, as a map.
#pragma once

#include <vector>

#include "runtime/session.h"

namespace tap {

// Of the whole picture, [rows, columns] from the top left, at least 0; the largest is 1 unless all are 0.
struct HeatMap {
  Dim rows = 0, columns = 0;
  std::vector<float> heat;
};

struct Explanation {
  Answer answer;
  std::vector<HeatMap> maps;  // one a picture of the conversation
};

// The answer is what session.ask gives; every layer and every token but the first count alike, heads too.
Explanation explain(Session& session, const Conversation& conversation, const GenerateOptions& options);

// Rows of features in the plan's order, one number each, to a map of the picture: of tiles each in its place and of the
// overview over all, the mean of what covers a place.
HeatMap heat_of(std::span<const float> rows, const ImagePlan& plan);

// The picture, darker where the map is cold and tinted where it is warm.
void draw_heat(Image& image, const HeatMap& map);

}  // namespace tap
