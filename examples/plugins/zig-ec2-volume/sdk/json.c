// Finding values in JSON text, and writing them.

#include "json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// --- Writing ---

void berth_append(berth_buffer *to, const char *text, size_t length) {
  if (length == 0) return;
  if (length > to->room - to->length) {
    to->room = 2 * to->room + length + 256;
    to->data = realloc(to->data, to->room);
    if (to->data == NULL) abort();
  }
  memcpy(to->data + to->length, text, length);
  to->length += length;
}

void berth_append_text(berth_buffer *to, const char *text) { berth_append(to, text, strlen(text)); }

void berth_append_string(berth_buffer *to, const char *text, size_t length) {
  static const char DIGITS[] = "0123456789abcdef";
  berth_append(to, "\"", 1);
  size_t from = 0;
  for (size_t at = 0; at < length; at++) {
    const unsigned char c = (unsigned char)text[at];
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    berth_append(to, text + from, at - from);
    if (c >= 0x20) {
      berth_append(to, (const char[]){'\\', (char)c}, 2);
    } else {
      berth_append(to, (const char[]){'\\', 'u', '0', '0', DIGITS[c >> 4], DIGITS[c & 15]}, 6);
    }
    from = at + 1;
  }
  berth_append(to, text + from, length - from);
  berth_append(to, "\"", 1);
}

void berth_append_json(berth_buffer *to, berth_json value) {
  if (value.text == NULL) value = (berth_json){"null", 4};
  berth_append(to, value.text, value.length);
}

void berth_append_int(berth_buffer *to, berth_json value) {
  if (!berth_is_string(value)) {
    berth_append_json(to, value);
    return;
  }
  const char *at = value.text + 1, *end = value.text + value.length - 1;
  const bool negative = at < end && *at == '-';
  if (at < end && (*at == '-' || *at == '+')) at++;
  const size_t digits = (size_t)(end - at);
  bool number = digits >= 1 && digits <= 18;
  for (const char *digit = at; number && digit < end; digit++) number = *digit >= '0' && *digit <= '9';
  if (!number) {
    berth_append_json(to, value);
    return;
  }
  while (at < end - 1 && *at == '0') at++;
  if (negative && *at != '0') berth_append(to, "-", 1);
  berth_append(to, at, (size_t)(end - at));
}

void berth_append_bool(berth_buffer *to, berth_json value) {
  if (berth_equals(value, "true") || berth_equals(value, "false")) {
    value = (berth_json){value.text + 1, value.length - 2};
  }
  berth_append_json(to, value);
}

// --- Reading ---

static const char *skip_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
  return at;
}

// Behind the string that begins here.
static const char *string_end(const char *at, const char *end) {
  for (at++; at < end; at++) {
    if (*at == '\\') {
      at++;
    } else if (*at == '"') {
      return at + 1;
    }
  }
  return end;
}

// Behind the value that begins here.
static const char *value_end(const char *at, const char *end) {
  if (at == end) return end;
  if (*at == '"') return string_end(at, end);
  if (*at != '{' && *at != '[') {
    while (at < end && !strchr(",]} \n\r\t", *at)) at++;
    return at;
  }
  for (size_t depth = 0; at < end;) {
    if (*at == '"') {
      at = string_end(at, end);
      continue;
    }
    if (*at == '{' || *at == '[') depth++;
    if ((*at == '}' || *at == ']') && --depth == 0) return at + 1;
    at++;
  }
  return end;
}

bool berth_is_object(berth_json value) { return value.text != NULL && *value.text == '{'; }
bool berth_is_list(berth_json value) { return value.text != NULL && *value.text == '['; }
bool berth_is_string(berth_json value) { return value.text != NULL && *value.text == '"'; }
bool berth_is_null(berth_json value) { return value.text == NULL || *value.text == 'n'; }

bool berth_equals(berth_json value, const char *text) {
  const size_t length = strlen(text);
  return berth_is_string(value) && value.length == length + 2 && memcmp(value.text + 1, text, length) == 0;
}

// The value that follows what was read last, or the first one.
static bool next_value(berth_json of, const char *last, char close, berth_json *value) {
  const char *end = of.text + of.length;
  const char *at = skip_space(last == NULL ? of.text + 1 : last, end);
  if (last != NULL && at < end && (*at == ',' || *at == ':')) at = skip_space(at + 1, end);
  if (at >= end || *at == close) return false;
  value->text = at;
  value->length = (size_t)(value_end(at, end) - at);
  return true;
}

bool berth_next(berth_json list, berth_json *element) {
  if (!berth_is_list(list)) return false;
  return next_value(list, element->text == NULL ? NULL : element->text + element->length, ']', element);
}

bool berth_next_member(berth_json object, berth_json *name, berth_json *value) {
  if (!berth_is_object(object)) return false;
  if (!next_value(object, value->text == NULL ? NULL : value->text + value->length, '}', name)) return false;
  if (!next_value(object, name->text + name->length, '}', value)) return false;
  *name = (berth_json){name->text + 1, name->length - 2};
  return true;
}

berth_json berth_get(berth_json object, const char *name) {
  const size_t length = strlen(name);
  berth_json member = {0}, value = {0}, found = {0};
  while (berth_next_member(object, &member, &value)) {
    // Of two with the same name the later one counts.
    if (member.length == length && memcmp(member.text, name, length) == 0) found = value;
  }
  return found;
}

// --- Times ---

static int days_in(int year, int month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// Digits as a number; -1 where there is anything else.
static int number(const char *at, int digits) {
  int number = 0;
  for (int i = 0; i < digits; i++) {
    if (at[i] < '0' || at[i] > '9') return -1;
    number = 10 * number + (at[i] - '0');
  }
  return number;
}

static char *put(char *to, int number, int digits, char behind) {
  for (int i = digits - 1; i >= 0; i--, number /= 10) to[i] = (char)('0' + number % 10);
  to[digits] = behind;
  return to + digits + 1;
}

// `Z`, `+HH:MM`, `-HHMM` in minutes.
static bool offset_minutes(const char *at, size_t length, int *minutes) {
  *minutes = 0;
  if (length == 1) return *at == 'Z';
  const bool colon = length == 6 && at[3] == ':';
  if ((*at != '+' && *at != '-') || (length != 5 && !colon)) return false;
  const int hours = number(at + 1, 2), rest = number(at + (colon ? 4 : 3), 2);
  *minutes = (*at == '-' ? -1 : 1) * (hours * 60 + rest);
  return hours >= 0 && hours < 24 && rest >= 0 && rest < 60;
}

void berth_append_time(berth_buffer *to, berth_json value) {
  if (!berth_is_string(value) || value.length < 22) {
    berth_append_json(to, value);
    return;
  }
  const char *t = value.text + 1;
  const size_t length = value.length - 2;
  if (t[4] != '-' || t[7] != '-' || t[10] != 'T' || t[13] != ':' || t[16] != ':') {
    berth_append_json(to, value);
    return;
  }
  int year = number(t, 4), month = number(t + 5, 2), day = number(t + 8, 2);
  const int hour = number(t + 11, 2), minute = number(t + 14, 2), second = number(t + 17, 2);
  int micros = 0;
  size_t at = 19;
  if (t[at] == '.') {
    const size_t from = ++at;
    while (at < length && t[at] >= '0' && t[at] <= '9') at++;
    for (size_t digit = from; digit < from + 6; digit++) {
      micros = 10 * micros + (digit < at ? t[digit] - '0' : 0);
    }
  }
  int offset;
  const bool is_time = year >= 0 && month >= 1 && month <= 12 && day >= 1 && day <= days_in(year, month) &&
                       hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && at < length &&
                       offset_minutes(t + at, length - at, &offset);
  int minutes = is_time ? hour * 60 + minute - offset : 0;
  if (minutes < 0) {
    minutes += 24 * 60;
    if (--day == 0) {
      if (--month == 0) {
        month = 12;
        year--;
      }
      day = days_in(year, month);
    }
  } else if (minutes >= 24 * 60) {
    minutes -= 24 * 60;
    if (++day > days_in(year, month)) {
      day = 1;
      if (++month == 13) {
        month = 1;
        year++;
      }
    }
  }
  // Nor what is before the first year, or after the last one, in UTC.
  if (!is_time || year < 0 || year > 9999) {
    berth_append_json(to, value);
    return;
  }
  char text[32];
  char *end = put(text, year, 4, '-');
  end = put(end, month, 2, '-');
  end = put(end, day, 2, 'T');
  end = put(end, minutes / 60, 2, ':');
  end = put(end, minutes % 60, 2, ':');
  end = put(end, second, 2, micros == 0 ? 'Z' : '.');
  if (micros != 0) end = put(end, micros, 6, 'Z');
  berth_append_string(to, text, (size_t)(end - text));
}

static bool is_listed(const char *const *names, berth_json name) {
  for (; *names != NULL; names++) {
    if (berth_equals(name, *names)) return true;
  }
  return false;
}

void berth_append_times(berth_buffer *to, berth_json value, const char *const *names) {
  if (value.text == NULL) {
    berth_append_json(to, value);
    return;
  }
  const char *end = value.text + value.length;
  bool is_time = false;
  for (const char *at = value.text; at < end;) {
    const char *quote = memchr(at, '"', (size_t)(end - at));
    if (quote == NULL) quote = end;
    berth_append(to, at, (size_t)(quote - at));
    if (quote == end) break;
    const char *after = string_end(quote, end);
    const berth_json string = {quote, (size_t)(after - quote)};
    const char *colon = skip_space(after, end);
    if (colon < end && *colon == ':') {
      is_time = is_listed(names, string);
      berth_append_json(to, string);
    } else if (is_time) {
      berth_append_time(to, string);
    } else {
      berth_append_json(to, string);
    }
    at = after;
  }
}
