// The parts of `berth.c` that know what JSON looks like. The host writes batches itself, so that what
// stands between strings and brackets is not looked at.

#ifndef BERTH_JSON_H
#define BERTH_JSON_H

#include "berth.h"

// A text that grows.
typedef struct {
  char *data;
  size_t length;
  size_t room;
} berth_buffer;

void berth_append(berth_buffer *to, const char *text, size_t length);
void berth_append_text(berth_buffer *to, const char *text);
// In quotes, and escaped.
void berth_append_string(berth_buffer *to, const char *text, size_t length);
// `null` where there is nothing.
void berth_append_json(berth_buffer *to, berth_json value);
void berth_append_time(berth_buffer *to, berth_json value);
// A value in which the strings of members of these names are times.
void berth_append_times(berth_buffer *to, berth_json value, const char *const *names);
// A number in quotes without them; anything else as it is.
void berth_append_int(berth_buffer *to, berth_json value);
// A truth value in quotes without them; anything else as it is.
void berth_append_bool(berth_buffer *to, berth_json value);

// Moves to the next member of an object. Begin with nothing in both; false at the end. The name has no
// quotes.
bool berth_next_member(berth_json object, berth_json *name, berth_json *value);

#endif
