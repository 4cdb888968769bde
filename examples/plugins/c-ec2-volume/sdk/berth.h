// What a Berth plugin in C is written with: the contract (`wit/plugin.wit`) on one side, the plugin's own
// mapping on the other.
//
// - Values are pieces of the batch's JSON text. Nothing is parsed or copied that is only passed on.
// - What is missing is null, as it is for a mapping in JQ.
// - A resource that the mapping refuses becomes an entry of `errors`; the others of its batch are mapped.
// - There is no network and no file. What libc asks of the system is answered with nothing, or always the
//   same; what is printed arrives in Berth's log.
//
// Names are C strings, and are compared with the JSON text as it stands: none of AWS's names has escapes.

#ifndef BERTH_H
#define BERTH_H

#include <stdbool.h>
#include <stddef.h>

#include "bindings/plugin.h"

// A value: its JSON text, or NULL where there is none.
typedef struct {
  const char *text;
  size_t length;
} berth_json;

// Where a batch comes from: `kind`, `account_id`, `account_name`, `region`, `partition`, `options`.
typedef exports_berth_plugin_mapper_context_t berth_context;

// One resource: what AWS said.
typedef struct {
  // The element of the list.
  berth_json item;
  // What later steps of the plan added to it, by the step's name.
  berth_json steps;
  // The items of the steps that it comes from.
  berth_json parents;
} berth_resource;

// What becomes of a resource.
typedef struct berth_out berth_out;

// How a property of a kind's documents is kept.
typedef enum {
  // As it is.
  BERTH_AS_IS,
  // Without it there is no document. For what identifies the resource.
  BERTH_REQUIRED,
  // A time, see `berth_property_time`.
  BERTH_TIME,
  // A number, or a truth value, that AWS puts in quotes.
  BERTH_INT,
  BERTH_BOOL,
} berth_form;

// A property that is not kept as it is, or that has another name than AWS's member.
typedef struct {
  // Its name in documents. It is read from the member of that name, with a capital or a small first letter.
  const char *name;
  berth_form form;
  // Another member to read it from.
  const char *from;
  // The names of members below it that are times, closed by NULL.
  const char *const *times;
} berth_member;

// The properties of a kind's documents.
typedef struct {
  // Closed by a member without a name.
  const berth_member *members;
  // Whether members that are not listed are left out. If not, they are kept as they are.
  bool drop_unknown;
} berth_properties;

// A kind, and its mapping. Both functions may make several of what they make, or none.
typedef struct {
  const char *kind;
  void (*entities)(const berth_resource *resource, const berth_context *context, berth_out *out);
  void (*documents)(const berth_resource *resource, const berth_context *context, berth_out *out);
} berth_kind;

// The kinds of the plugin, closed by one without a name. The plugin defines them.
extern const berth_kind berth_kinds[];

// --- Reading ---

// A member of an object; nothing, where there is no such member or no object.
berth_json berth_get(berth_json object, const char *name);
bool berth_is_object(berth_json value);
bool berth_is_list(berth_json value);
bool berth_is_string(berth_json value);
// Whether it is null, or is missing.
bool berth_is_null(berth_json value);
// Moves to the next element of a list. Begin with an element of nothing; false at the end.
//
//   for (berth_json tag = {0}; berth_next(tags, &tag);) { … }
bool berth_next(berth_json list, berth_json *element);
// Whether a value is this string. The text must need no escapes.
bool berth_equals(berth_json value, const char *text);
// Whether an option (`includeActions`) is switched on.
bool berth_option(const berth_context *context, const char *name);

// --- Entities ---

// Begins an entity. The identifier must be a string that is not empty, or the resource is refused.
void berth_entity(berth_out *out, const char *blueprint, berth_json identifier);
void berth_title(berth_out *out, berth_json title);
void berth_property(berth_out *out, const char *name, berth_json value);
// A time as documents have it: UTC with `Z`, no fraction where it is zero, else six digits. What is no ISO
// 8601 time with an offset stays as it is.
void berth_property_time(berth_out *out, const char *name, berth_json time);
void berth_relation(berth_out *out, const char *name, berth_json target);
// A relation to something that the context names, as in `context->account_id`.
void berth_relation_text(berth_out *out, const char *name, plugin_string_t target);
// A relation to many: begun here, then each with `berth_target`.
void berth_relation_many(berth_out *out, const char *name);
void berth_target(berth_out *out, berth_json target);

// --- Documents ---

// Begins a document: what users' own JQ mappings see.
void berth_document(berth_out *out, const berth_properties *properties);
// Takes over the members of an object. What is merged later wins.
void berth_merge(berth_out *out, berth_json members);
// Sets a property, whatever was merged under its name.
void berth_set(berth_out *out, const char *name, berth_json value);
// Adds a member to `__ExtraContext`.
void berth_extra(berth_out *out, const char *name, berth_json value);
// Adds `AccountId` and, for a kind that is regional, `Region` to `__ExtraContext`.
void berth_origin(berth_out *out);

// --- Refusing ---

// The resource cannot be mapped, for this reason, in words for whoever runs the sync. What was made of it is
// dropped; the first reason counts.
void berth_refuse(berth_out *out, const char *reason);
// The value stands where something else was expected: `an object`, `a list`.
void berth_refuse_value(berth_out *out, berth_json value, const char *expected);

// --- Logging ---

// Writes a line into the host's log, at `BERTH_PLUGIN_LOG_LEVEL_DEBUG`, `…_INFO`, `…_WARN` or `…_ERROR`.
void berth_log(berth_plugin_log_level_t level, const char *message);

#endif
