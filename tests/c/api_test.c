/* The C interface as a program outside would use it: no other header, C11. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tapetum.h>

#define SAMPLES SOURCE_DIR "/data/samples/"
#define ON_ROOF "What is on the roof?"

static tapetum_error *error;

#define CHECK(condition)                                                                                       \
  do {                                                                                                         \
    if (!(condition)) {                                                                                        \
      fprintf(stderr, "%s:%d: %s\n(error: %s)\n", __FILE__, __LINE__, #condition, tapetum_error_message(error)); \
      exit(1);                                                                                                 \
    }                                                                                                          \
  } while (0)

/* The newest error has this code; it is forgotten. */
static void check_error(int line, const char *code) {
  if (strcmp(tapetum_error_code(error), code) != 0 || strchr(tapetum_error_message(error), '\n')) {
    fprintf(stderr, "line %d: the error is %s (%s), must be %s\n", line, tapetum_error_code(error),
            tapetum_error_message(error), code);
    exit(1);
  }
  tapetum_error_free(error);
  error = NULL;
}
#define FAILS(call, code)          \
  do {                             \
    CHECK(!(call));                \
    check_error(__LINE__, code);   \
  } while (0)

static tapetum_model *nano(void) {
  tapetum_model *model = tapetum_model_load(SOURCE_DIR "/data/nano", NULL, &error);
  CHECK(model);
  return model;
}

static tapetum_image *sample(const char *path) {
  tapetum_image *image = tapetum_image_load(path, &error);
  CHECK(image);
  return image;
}

static bool never(void *user) {
  ++*(int *)user;
  return false;
}

struct text {
  char characters[2000];
  int pieces, most;
};

static bool append(const char *piece, void *user) {
  struct text *text = user;
  strncat(text->characters, piece, sizeof text->characters - strlen(text->characters) - 1);
  return ++text->pieces < text->most;
}

#define CASE(name) static void name(void)

CASE(a_question_is_answered) {
  tapetum_model *model = nano();
  tapetum_image *roof = sample(SAMPLES "roof.png");
  CHECK(strcmp(tapetum_model_name(model), "nano") == 0 && tapetum_model_can_detect(model));
  CHECK(tapetum_model_context(model) >= 1024);
  tapetum_answer *answer = tapetum_ask(model, &roof, 1, ON_ROOF, NULL, &error);
  CHECK(answer && strcmp(answer->text, "A white bird") == 0 && strcmp(answer->finish_reason, "stop") == 0);
  CHECK(answer->prompt_tokens > answer->image_tokens && answer->image_tokens > 0 && answer->output_tokens > 0);
  CHECK(answer->total_ms >= answer->first_token_ms && answer->first_token_ms > 0);
  tapetum_answer_free(answer);
  tapetum_options options = TAPETUM_OPTIONS_INIT;
  const char *const choices[] = {"a cat", "a bird"};
  options.choices = choices;
  options.choice_count = 2;
  answer = tapetum_ask(model, &roof, 1, ON_ROOF, &options, &error);
  CHECK(answer && strcmp(answer->text, "a bird") == 0);
  tapetum_answer_free(answer);
  tapetum_image_free(roof);
  tapetum_model_free(model);
}

CASE(a_chat_remembers_and_streams) {
  tapetum_model *model = nano();
  tapetum_image *yard = sample(SAMPLES "yard.png");
  tapetum_chat_options how = TAPETUM_CHAT_OPTIONS_INIT;
  tapetum_chat *chat = tapetum_chat_new(model, &how, &error);
  CHECK(chat);
  tapetum_model_free(model); /* the chat keeps it */
  struct text text = {"", 0, 1000};
  tapetum_answer *answer = tapetum_chat_stream(chat, &yard, 1, "Describe the image.", NULL, append, &text, &error);
  tapetum_image_free(yard); /* the chat has it */
  CHECK(answer && strcmp(answer->text, text.characters) == 0 && text.pieces > 5);
  tapetum_answer_free(answer);
  CHECK(tapetum_chat_turns(chat) == 1);
  struct text cut = {"", 0, 2};
  FAILS(tapetum_chat_stream(chat, NULL, 0, "Describe the image.", NULL, append, &cut, &error), "cancelled");
  CHECK(cut.pieces == 2 && tapetum_chat_turns(chat) == 1);
  answer = tapetum_chat_ask(chat, NULL, 0, "How many objects are there?", NULL, &error);
  CHECK(answer && answer->cached_tokens > answer->image_tokens && answer->image_tokens > 0);
  tapetum_answer_free(answer);
  CHECK(tapetum_chat_turns(chat) == 2 && tapetum_chat_clear(chat, &error) && tapetum_chat_turns(chat) == 0);
  tapetum_chat_free(chat);
}

CASE(many_questions_are_answered_together) {
  tapetum_model *model = nano();
  tapetum_image *roof = sample(SAMPLES "roof.png");
  const tapetum_question questions[] = {{&roof, 1, ON_ROOF}, {&roof, 1, ""}, {&roof, 1, "How many objects are there?"}};
  tapetum_outcomes *outcomes = tapetum_ask_all(model, questions, 3, 2, NULL, &error);
  CHECK(outcomes && outcomes->count == 3);
  CHECK(outcomes->items[0].answer && strcmp(outcomes->items[0].answer->text, "A white bird") == 0);
  CHECK(!outcomes->items[1].answer && strcmp(tapetum_error_code(outcomes->items[1].error), "usage") == 0);
  CHECK(outcomes->items[2].answer && !outcomes->items[2].error);
  tapetum_outcomes_free(outcomes);
  FAILS(tapetum_ask_all(model, questions, 3, 0, NULL, &error), "usage");
  tapetum_image_free(roof);
  tapetum_model_free(model);
}

CASE(things_are_found_counted_and_drawn) {
  tapetum_model *model = nano();
  tapetum_image *roof = sample(SAMPLES "roof.png");
  tapetum_detections *found = tapetum_detect(model, roof, "bird on the roof", NULL, &error);
  CHECK(found && found->count == 1);
  const tapetum_detection *bird = found->items;
  CHECK(strcmp(bird->label, "bird") == 0 && bird->x1 < bird->x2 && bird->y1 < bird->y2 && bird->x2 <= 768);
  CHECK(bird->score > 0 && bird->score <= 1 && !bird->is_point && !bird->mask);
  tapetum_image *drawn = tapetum_draw(roof, found, &error);
  CHECK(drawn && tapetum_image_width(drawn) == 768 && tapetum_image_height(drawn) == 768);
  CHECK(memcmp(tapetum_image_rgb(drawn), tapetum_image_rgb(roof), 768 * 768 * 3) != 0);
  tapetum_image_free(drawn);
  tapetum_detections_free(found);
  tapetum_counts *counts = tapetum_count(model, roof, "birds", NULL, &error);
  CHECK(counts && counts->count == 1 && counts->items[0].boxes >= 1 && strcmp(counts->items[0].label, "bird") == 0);
  tapetum_counts_free(counts);
  FAILS(tapetum_segment(model, roof, "bird", NULL, NULL, &error), "unsupported");
  tapetum_image_free(roof);
  tapetum_model_free(model);
}

CASE(vectors_and_guards) {
  tapetum_model *model = nano();
  tapetum_image *roof = sample(SAMPLES "roof.png"), *danger = sample(SOURCE_DIR "/tests/data/guard/dangerous.png");
  tapetum_vector *picture = tapetum_embed(model, roof, NULL, &error), *text = tapetum_embed(model, NULL, "a bird", &error),
                 *both = tapetum_embed(model, roof, "a bird", &error);
  CHECK(picture && text && both && picture->count == (size_t)tapetum_model_width(model) && text->count == picture->count);
  CHECK(isfinite(picture->values[0]) && memcmp(text->values, both->values, text->count * sizeof(float)) != 0);
  tapetum_vector_free(picture);
  tapetum_vector_free(text);
  tapetum_vector_free(both);
  FAILS(tapetum_embed(model, NULL, NULL, &error), "usage");
  tapetum_guard *guard = tapetum_guard_load(SOURCE_DIR "/data/nano", NULL, &error);
  CHECK(guard && tapetum_guard_judges_pictures(guard) && !tapetum_guard_judges_texts(guard));
  tapetum_safety *safety = tapetum_guard_image(guard, danger, &error);
  CHECK(safety && safety->flagged && safety->count == 1 && safety->scores[0].violates);
  CHECK(strcmp(safety->checked, "image") == 0 && strcmp(safety->scores[0].policy, "dangerous") == 0);
  tapetum_safety_free(safety);
  FAILS(tapetum_guard_text(guard, "hello", &error), "unsupported");
  tapetum_chat_options how = TAPETUM_CHAT_OPTIONS_INIT;
  how.before = &guard;
  how.before_count = 1;
  tapetum_chat *chat = tapetum_chat_new(model, &how, &error);
  CHECK(chat);
  FAILS(tapetum_chat_ask(chat, &danger, 1, ON_ROOF, NULL, &error), "refused");
  tapetum_chat_free(chat);
  tapetum_guard_free(guard);
  tapetum_image_free(roof);
  tapetum_image_free(danger);
  tapetum_model_free(model);
}

CASE(pictures_come_from_bytes_and_pixels) {
  uint8_t pixels[2 * 3 * 3];
  for (size_t i = 0; i < sizeof pixels; ++i) pixels[i] = (uint8_t)(10 * i);
  tapetum_image *image = tapetum_image_from_rgb(2, 3, pixels, sizeof pixels, &error);
  CHECK(image && tapetum_image_width(image) == 2 && tapetum_image_height(image) == 3);
  const char *path = "c_api_picture.png"; /* in the folder of the build that ctest runs in */
  CHECK(tapetum_image_save(image, path, &error));
  FILE *file = fopen(path, "rb");
  CHECK(file);
  unsigned char bytes[1000];
  const size_t size = fread(bytes, 1, sizeof bytes, file);
  fclose(file);
  remove(path);
  tapetum_image *again = tapetum_image_decode(bytes, size, "again.png", &error);
  CHECK(again && memcmp(tapetum_image_rgb(again), pixels, sizeof pixels) == 0);
  tapetum_image_free(again);
  tapetum_image_free(image);
  FAILS(tapetum_image_from_rgb(2, 3, pixels, 5, &error), "usage");
  FAILS(tapetum_image_decode("no picture", 10, NULL, &error), "bad_file");
  FAILS(tapetum_image_fetch("http://127.0.0.1:1/roof.png", &error), "bad_input");
}

CASE(errors_have_codes_and_nothing_crashes) {
  CHECK(strchr(tapetum_version(), '.'));
  CHECK(!tapetum_model_load("/nowhere", NULL, NULL)); /* nobody wants to know */
  CHECK(!tapetum_model_load("/nowhere", NULL, &error) && strcmp(tapetum_error_item(error), "/nowhere") == 0);
  CHECK(strcmp(tapetum_error_code(error), "not_found") == 0);
  tapetum_error_free(error);
  error = NULL;
  CHECK(strcmp(tapetum_error_code(NULL), "") == 0 && strcmp(tapetum_error_message(NULL), "") == 0);
  tapetum_model *model = nano();
  FAILS(tapetum_ask(NULL, NULL, 0, "Hello", NULL, &error), "usage");
  FAILS(tapetum_ask(model, NULL, 1, "Hello", NULL, &error), "usage");
  FAILS(tapetum_ask(model, NULL, 0, NULL, NULL, &error), "usage");
  FAILS(tapetum_detect(model, NULL, "bird", NULL, &error), "usage");
  FAILS(tapetum_image_load(NULL, &error), "usage");
  FAILS(tapetum_chat_ask(NULL, NULL, 0, "Hello", NULL, &error), "usage");
  tapetum_load_options load = TAPETUM_LOAD_OPTIONS_INIT;
  load.dtype = "f64";
  FAILS(tapetum_model_load(SOURCE_DIR "/data/nano", &load, &error), "usage");
  tapetum_options options = TAPETUM_OPTIONS_INIT;
  int asked = 0;
  options.keep_on = never;
  options.user = &asked;
  FAILS(tapetum_ask(model, NULL, 0, "Hello", &options, &error), "cancelled");
  CHECK(asked >= 1);
  options = (tapetum_options)TAPETUM_OPTIONS_INIT;
  options.size = offsetof(tapetum_options, temperature); /* a program of an older version, whose options ended there */
  options.max_tokens = 1;
  options.temperature = 1e9;
  tapetum_answer *answer = tapetum_ask(model, NULL, 0, "Hello", &options, &error);
  CHECK(answer && answer->output_tokens == 1);
  tapetum_answer_free(answer);
  options.size = 0;
  FAILS(tapetum_ask(model, NULL, 0, "Hello", &options, &error), "usage");
  options.size = sizeof options + 8;
  FAILS(tapetum_ask(model, NULL, 0, "Hello", &options, &error), "usage");
  tapetum_model_free(model);
  tapetum_model_free(NULL);
  tapetum_chat_free(NULL);
  tapetum_answer_free(NULL);
}

static void hear(const char *line, void *user) {
  CHECK(!strchr(line, '\n'));
  ++*(int *)user;
}

CASE(warnings_are_heard) {
  tapetum_model *model = nano();
  tapetum_image *roof = sample(SAMPLES "roof.png");
  tapetum_options options = TAPETUM_OPTIONS_INIT;
  options.max_tokens = 2;
  int heard = 0;
  tapetum_on_warning(hear, &heard);
  tapetum_detections_free(tapetum_detect(model, roof, "bird on the roof", &options, &error));
  CHECK(heard == 1 && !error);
  tapetum_on_warning(NULL, NULL);
  tapetum_detections_free(tapetum_detect(model, roof, "bird on the roof", &options, &error));
  CHECK(heard == 1 && !error);
  tapetum_image_free(roof);
  tapetum_model_free(model);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
  } cases[] = {
#define ROW(name) {#name, name}
      ROW(a_question_is_answered), ROW(a_chat_remembers_and_streams), ROW(many_questions_are_answered_together),
      ROW(things_are_found_counted_and_drawn), ROW(vectors_and_guards), ROW(pictures_come_from_bytes_and_pixels),
      ROW(errors_have_codes_and_nothing_crashes), ROW(warnings_are_heard)};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
    if (argc == 2 && strcmp(cases[i].name, argv[1]) == 0) {
      cases[i].run();
      return 0;
    }
  fprintf(stderr, "no such case\n");
  return 2;
}
