/* tapetum for C, and for every language that calls C: the verbs of the C++ interface (tapetum/tapetum.h), which it is made of.
 *
 *   #include <tapetum.h>
 *   tapetum_error *error = NULL;
 *   tapetum_model *model = tapetum_model_load("nano", NULL, &error);
 *   tapetum_image *roof = tapetum_image_load("roof.png", &error);
 *   tapetum_answer *answer = model && roof ? tapetum_ask(model, &roof, 1, "What is on the roof?", NULL, &error) : NULL;
 *   puts(answer ? answer->text : tapetum_error_message(error));
 *
 * docs/guide/c.md is the guide. The rules:
 * - What a function returns is the caller's, who frees it with the _free of its type; these take NULL. What it points to lives as
 *   long as it does. Arguments are copied or counted: a picture may be freed as soon as the call has returned, a model while its
 *   chats live.
 * - A function that fails returns NULL, and where `error` is not NULL puts a new error there; on success it leaves it alone.
 * - Texts are UTF-8 and end with a zero. A pointer to options may be NULL: the defaults. Options begin as their _INIT; members may be
 *   added at their end with a new version, `size` says which of them the caller knows.
 * - Threads as in C++: any number may use one model; one chat, image or result is used by one thread at a time, or only read. */
#ifndef TAPETUM_H
#define TAPETUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tapetum_error tapetum_error;
typedef struct tapetum_image tapetum_image;
typedef struct tapetum_model tapetum_model;
typedef struct tapetum_chat tapetum_chat;
typedef struct tapetum_guard tapetum_guard;

const char *tapetum_version(void); /* "0.1.0": of the library that runs */

/* ---- errors ---- */

/* "usage", "not_found", "bad_file", "bad_input", "limit", "io", "unsupported", "cancelled", "out_of_memory", "internal", "refused":
 * see tapetum/error.h. */
const char *tapetum_error_code(const tapetum_error *error);
const char *tapetum_error_message(const tapetum_error *error); /* one line */
const char *tapetum_error_item(const tapetum_error *error);    /* the file, key or option it is about, or "" */
void tapetum_error_free(tapetum_error *error);

/* Where the library says what is odd but no error: one line each, from any thread. NULL: nowhere, as at the beginning. */
void tapetum_on_warning(void (*sink)(const char *line, void *user), void *user);

/* ---- pictures: upright, 8-bit RGB ---- */

tapetum_image *tapetum_image_load(const char *path, tapetum_error **error);
/* The bytes of a file; `name` stands for it in errors. */
tapetum_image *tapetum_image_decode(const void *bytes, size_t size, const char *name, tapetum_error **error);
/* An http:, https: or data: URL; private addresses are refused. */
tapetum_image *tapetum_image_fetch(const char *url, tapetum_error **error);
/* width * height * 3 bytes: rows from the top; red, green, blue. */
tapetum_image *tapetum_image_from_rgb(int64_t width, int64_t height, const uint8_t *rgb, size_t size, tapetum_error **error);
int64_t tapetum_image_width(const tapetum_image *image);
int64_t tapetum_image_height(const tapetum_image *image);
const uint8_t *tapetum_image_rgb(const tapetum_image *image); /* laid out as for tapetum_image_from_rgb */
bool tapetum_image_save(const tapetum_image *image, const char *path, tapetum_error **error); /* as PNG; false: failed */
void tapetum_image_free(tapetum_image *image);

/* ---- models ---- */

typedef struct {
  size_t size;
  const char *dtype;             /* "auto", "f32", "bf16", "q8" or "q4" */
  int threads;                   /* 0: those that this process may use */
  bool (*keep_on)(void *user);   /* asked while loading; false ends it (cancelled); NULL: nothing interrupts */
  void *user;
} tapetum_load_options;
#define TAPETUM_LOAD_OPTIONS_INIT {sizeof(tapetum_load_options), "auto", 0, NULL, NULL}

/* "nano", a folder in the hub's format, or "org/name" in the local hub cache; nothing is downloaded. */
tapetum_model *tapetum_model_load(const char *name, const tapetum_load_options *options, tapetum_error **error);
const char *tapetum_model_name(const tapetum_model *model);
int64_t tapetum_model_context(const tapetum_model *model); /* most tokens of a conversation */
int64_t tapetum_model_width(const tapetum_model *model);   /* numbers of an embedding */
bool tapetum_model_can_detect(const tapetum_model *model);
void tapetum_model_free(tapetum_model *model);

/* ---- answers ---- */

typedef struct {
  size_t size;
  int64_t max_tokens;
  double temperature, top_p, min_p; /* below 0: the model's own choice */
  int64_t top_k;                    /* likewise; 0: all */
  uint64_t seed;
  const char *const *stop; /* the answer ends before any of these */
  size_t stop_count;
  const char *const *choices; /* at most one of choices, regex and json_schema: the answer is of that form exactly */
  size_t choice_count;
  const char *regex;
  const char *json_schema;
  bool (*keep_on)(void *user); /* asked many times a second, on the calling thread; false ends the call (cancelled) */
  void *user;
} tapetum_options;
#define TAPETUM_OPTIONS_INIT {sizeof(tapetum_options), 512, -1, -1, -1, -1, 0, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL}

typedef struct {
  const char *text;
  const char *finish_reason; /* "stop", or "length": cut */
  int64_t prompt_tokens, image_tokens, cached_tokens, output_tokens;
  double first_token_ms, total_ms;
} tapetum_answer;
void tapetum_answer_free(tapetum_answer *answer);

/* One question about some pictures, or none: a chat of one turn. */
tapetum_answer *tapetum_ask(const tapetum_model *model, tapetum_image *const *images, size_t image_count, const char *question,
                            const tapetum_options *options, tapetum_error **error);

typedef struct {
  tapetum_image *const *images;
  size_t image_count;
  const char *question;
} tapetum_question;
typedef struct {
  const tapetum_answer *answer; /* one of the two */
  const tapetum_error *error;
} tapetum_outcome;
typedef struct {
  size_t count; /* of the questions, in their order */
  const tapetum_outcome *items;
} tapetum_outcomes;
void tapetum_outcomes_free(tapetum_outcomes *outcomes);

/* Many questions, up to `at_once` (1 to 256) of them computed together. One that fails ends alone. */
tapetum_outcomes *tapetum_ask_all(const tapetum_model *model, const tapetum_question *questions, size_t count, int64_t at_once,
                                  const tapetum_options *options, tapetum_error **error);

typedef struct {
  size_t size;
  const char *system; /* NULL: no system message */
  int64_t context;    /* 0: the model's */
  tapetum_guard *const *before; /* judge pictures and questions: what one refuses is an error (refused) */
  size_t before_count;
  tapetum_guard *const *behind; /* judge the answers */
  size_t behind_count;
} tapetum_chat_options;
#define TAPETUM_CHAT_OPTIONS_INIT {sizeof(tapetum_chat_options), NULL, 0, NULL, 0, NULL, 0}

/* A conversation that remembers its turns. A turn that fails is taken back. */
tapetum_chat *tapetum_chat_new(const tapetum_model *model, const tapetum_chat_options *options, tapetum_error **error);
tapetum_answer *tapetum_chat_ask(tapetum_chat *chat, tapetum_image *const *images, size_t image_count, const char *question,
                                 const tapetum_options *options, tapetum_error **error);
/* The same; `piece` gets the answer's text as it is made, and ends it by false (cancelled). */
tapetum_answer *tapetum_chat_stream(tapetum_chat *chat, tapetum_image *const *images, size_t image_count, const char *question,
                                    const tapetum_options *options, bool (*piece)(const char *text, void *user), void *user,
                                    tapetum_error **error);
int64_t tapetum_chat_turns(const tapetum_chat *chat);
bool tapetum_chat_clear(tapetum_chat *chat, tapetum_error **error);
void tapetum_chat_free(tapetum_chat *chat);

/* ---- places ---- */

typedef struct {
  const char *label;
  float x1, y1, x2, y2; /* pixels of the picture, y down */
  float score;          /* [0, 1]; below 0: unknown */
  bool is_point;        /* x1, y1 = x2, y2 */
  const uint8_t *mask;  /* of the picture's size, rows from the top, 1 inside; NULL: none */
} tapetum_detection;
typedef struct {
  size_t count;
  const tapetum_detection *items;
} tapetum_detections;
void tapetum_detections_free(tapetum_detections *detections);

/* "the bird on the roof", "point to the cup", "cat ; dog" */
tapetum_detections *tapetum_detect(const tapetum_model *model, const tapetum_image *image, const char *phrase,
                                   const tapetum_options *options, tapetum_error **error);
/* With masks; `mask_weights`: the file of PaliGemma's mask decoder, NULL: the one in the model's folder. */
tapetum_detections *tapetum_segment(const tapetum_model *model, const tapetum_image *image, const char *phrase,
                                    const char *mask_weights, const tapetum_options *options, tapetum_error **error);
/* A copy of the picture with frames and labels. */
tapetum_image *tapetum_draw(const tapetum_image *image, const tapetum_detections *detections, tapetum_error **error);

typedef struct {
  const char *label;
  int64_t boxes;    /* by finding them */
  int64_t answered; /* by asking; below 0: the answer was no number */
} tapetum_count_item;
typedef struct {
  size_t count;
  const tapetum_count_item *items;
} tapetum_counts;
void tapetum_counts_free(tapetum_counts *counts);
tapetum_counts *tapetum_count(const tapetum_model *model, const tapetum_image *image, const char *phrase,
                              const tapetum_options *options, tapetum_error **error);

/* ---- vectors ---- */

typedef struct {
  size_t count;
  const float *values;
} tapetum_vector;
void tapetum_vector_free(tapetum_vector *vector);
/* Of a picture, of a text, or of a picture in the light of a text: one of the two may be NULL. */
tapetum_vector *tapetum_embed(const tapetum_model *model, const tapetum_image *image, const char *text, tapetum_error **error);

/* ---- guards ---- */

typedef struct {
  size_t size;
  const char *const *policies; /* by name; none: all that the guard has */
  size_t policy_count;
  double threshold; /* [0, 1]: refused from it on */
  int threads;
} tapetum_guard_options;
#define TAPETUM_GUARD_OPTIONS_INIT {sizeof(tapetum_guard_options), NULL, 0, 0.5, 0}

typedef struct {
  const char *policy;
  double p_violates, threshold;
  bool violates;
} tapetum_policy_score;
typedef struct {
  bool flagged;        /* a policy is violated */
  const char *checked; /* "image" or "text" */
  size_t count;
  const tapetum_policy_score *scores;
} tapetum_safety;
void tapetum_safety_free(tapetum_safety *safety);

tapetum_guard *tapetum_guard_load(const char *name, const tapetum_guard_options *options, tapetum_error **error);
bool tapetum_guard_judges_pictures(const tapetum_guard *guard);
bool tapetum_guard_judges_texts(const tapetum_guard *guard);
tapetum_safety *tapetum_guard_image(tapetum_guard *guard, const tapetum_image *image, tapetum_error **error);
tapetum_safety *tapetum_guard_text(tapetum_guard *guard, const char *text, tapetum_error **error);
tapetum_safety *tapetum_guard_answer(tapetum_guard *guard, const char *question, const char *answer, tapetum_error **error);
void tapetum_guard_free(tapetum_guard *guard);

#ifdef __cplusplus
}
#endif

#endif
