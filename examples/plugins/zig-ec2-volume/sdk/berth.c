// The contract with the host: batches in, entities, documents and errors out.

#include "berth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

static const uint8_t MANIFEST[] = {
#embed "../manifest.json"
};

// A property of a document.
typedef struct {
  berth_json name;
  berth_json value;
  const berth_member *member;
  // Whether the member had the very name of the property. Such a one wins.
  bool by_name;
} entry;

struct berth_out {
  const berth_context *context;
  // What was made of the batch.
  berth_buffer made;
  // Of the entity or document that was begun.
  berth_buffer head, properties, relations, extra;
  bool is_entity, is_document, in_list;
  const berth_properties *form;
  entry *entries;
  size_t count, room;
  // Why the resource is refused.
  berth_buffer reason;
  bool refused;
};

// --- Refusing ---

void berth_refuse(berth_out *out, const char *reason) {
  if (!out->refused) berth_append_text(&out->reason, reason);
  out->refused = true;
}

void berth_refuse_value(berth_out *out, berth_json value, const char *expected) {
  if (out->refused) return;
  if (value.text == NULL) value = (berth_json){"nothing", 7};
  // The start of it tells enough. A character is not cut in two.
  size_t length = value.length < 40 ? value.length : 40;
  while (length < value.length && ((unsigned char)value.text[length] & 0xc0) == 0x80) length--;
  berth_append_text(&out->reason, "`");
  berth_append(&out->reason, value.text, length);
  berth_append_text(&out->reason, "` stands where ");
  berth_append_text(&out->reason, expected);
  berth_refuse(out, " is expected");
}

// --- Members of what is written ---

static void name(berth_buffer *to, const char *name) {
  if (to->length > 0) berth_append(to, ",", 1);
  berth_append_string(to, name, strlen(name));
  berth_append(to, ":", 1);
}

static void string_member(berth_buffer *to, const char *member, plugin_string_t value) {
  name(to, member);
  berth_append_string(to, (const char *)value.ptr, value.len);
}

// --- Entities ---

static void end_list(berth_out *out) {
  if (out->in_list) berth_append(&out->relations, "]", 1);
  out->in_list = false;
}

static void end_entity(berth_out *out) {
  end_list(out);
  if (out->made.length > 0) berth_append(&out->made, ",", 1);
  berth_append(&out->made, "{", 1);
  berth_append(&out->made, out->head.data, out->head.length);
  berth_append_text(&out->made, ",\"properties\":{");
  berth_append(&out->made, out->properties.data, out->properties.length);
  berth_append_text(&out->made, "},\"relations\":{");
  berth_append(&out->made, out->relations.data, out->relations.length);
  berth_append_text(&out->made, "}}");
}

static void end_document(berth_out *out);

static void end(berth_out *out) {
  if (out->is_entity && !out->refused) end_entity(out);
  if (out->is_document && !out->refused) end_document(out);
  out->is_entity = out->is_document = out->in_list = false;
  out->head.length = out->properties.length = out->relations.length = out->extra.length = out->count = 0;
}

void berth_entity(berth_out *out, const char *blueprint, berth_json identifier) {
  end(out);
  if (!out->refused && (!berth_is_string(identifier) || identifier.length <= 2)) {
    berth_append_text(&out->reason, "it has no identifier for the blueprint `");
    berth_append_text(&out->reason, blueprint);
    berth_refuse(out, "`");
  }
  out->is_entity = true;
  name(&out->head, "blueprint");
  berth_append_string(&out->head, blueprint, strlen(blueprint));
  name(&out->head, "identifier");
  berth_append_json(&out->head, identifier);
}

void berth_title(berth_out *out, berth_json title) {
  name(&out->head, "title");
  berth_append_json(&out->head, title);
}

void berth_property(berth_out *out, const char *property, berth_json value) {
  name(&out->properties, property);
  berth_append_json(&out->properties, value);
}

void berth_property_time(berth_out *out, const char *property, berth_json time) {
  name(&out->properties, property);
  berth_append_time(&out->properties, time);
}

void berth_relation(berth_out *out, const char *relation, berth_json target) {
  end_list(out);
  name(&out->relations, relation);
  berth_append_json(&out->relations, target);
}

void berth_relation_text(berth_out *out, const char *relation, plugin_string_t target) {
  end_list(out);
  string_member(&out->relations, relation, target);
}

void berth_relation_many(berth_out *out, const char *relation) {
  end_list(out);
  name(&out->relations, relation);
  berth_append(&out->relations, "[", 1);
  out->in_list = true;
}

void berth_target(berth_out *out, berth_json target) {
  if (!out->in_list) return;
  if (out->relations.data[out->relations.length - 1] != '[') berth_append(&out->relations, ",", 1);
  berth_append_json(&out->relations, target);
}

// --- Documents ---

void berth_document(berth_out *out, const berth_properties *properties) {
  end(out);
  out->is_document = true;
  out->form = properties;
}

static bool alike(berth_json name, const char *other) {
  return other != NULL && name.length == strlen(other) && memcmp(name.text, other, name.length) == 0;
}

// Whether the name is that of the property, but for a small first letter.
static bool is_small(berth_json name, const char *property) {
  return name.length > 0 && name.length == strlen(property) && (name.text[0] & ~0x20) == property[0] &&
         memcmp(name.text + 1, property + 1, name.length - 1) == 0;
}

static const berth_member *listed(const berth_out *out, berth_json name) {
  for (const berth_member *member = out->form->members; member->name != NULL; member++) {
    const bool is = member->from == NULL ? is_small(name, member->name) : alike(name, member->from);
    if (is || alike(name, member->name)) return member;
  }
  return NULL;
}

static void keep(berth_out *out, entry kept) {
  for (size_t at = 0; at < out->count; at++) {
    entry *other = &out->entries[at];
    if (other->name.length != kept.name.length ||
        memcmp(other->name.text, kept.name.text, kept.name.length) != 0) {
      continue;
    }
    if (kept.by_name || !other->by_name) *other = kept;
    return;
  }
  if (out->count == out->room) {
    out->room = 2 * out->room + 32;
    out->entries = realloc(out->entries, out->room * sizeof *out->entries);
    if (out->entries == NULL) abort();
  }
  out->entries[out->count++] = kept;
}

void berth_merge(berth_out *out, berth_json members) {
  if (!berth_is_object(members)) {
    berth_refuse_value(out, members, "an object");
    return;
  }
  berth_json member = {0}, value = {0};
  while (berth_next_member(members, &member, &value)) {
    const berth_member *found = listed(out, member);
    if (found != NULL) {
      const berth_json property = {found->name, strlen(found->name)};
      keep(out, (entry){property, value, found, alike(member, found->name)});
    } else if (!out->form->drop_unknown) {
      keep(out, (entry){member, value, NULL, true});
    }
  }
}

void berth_set(berth_out *out, const char *property, berth_json value) {
  keep(out, (entry){{property, strlen(property)}, value, NULL, true});
}

void berth_extra(berth_out *out, const char *member, berth_json value) {
  name(&out->extra, member);
  berth_append_json(&out->extra, value);
}

void berth_origin(berth_out *out) {
  string_member(&out->extra, "AccountId", out->context->account_id);
  if (out->context->region.is_some) string_member(&out->extra, "Region", out->context->region.val);
}

static void append_formed(berth_buffer *to, const entry *kept) {
  const berth_form form = kept->member == NULL ? BERTH_AS_IS : kept->member->form;
  if (form == BERTH_TIME) {
    berth_append_time(to, kept->value);
  } else if (form == BERTH_INT) {
    berth_append_int(to, kept->value);
  } else if (form == BERTH_BOOL) {
    berth_append_bool(to, kept->value);
  } else if (kept->member != NULL && kept->member->times != NULL) {
    berth_append_times(to, kept->value, kept->member->times);
  } else {
    berth_append_json(to, kept->value);
  }
}

static void refuse_without(berth_out *out, const char *property) {
  for (size_t at = 0; at < out->count; at++) {
    if (alike(out->entries[at].name, property) && !berth_is_null(out->entries[at].value)) return;
  }
  if (out->refused) return;
  berth_append_text(&out->reason, "it has no `");
  berth_append_text(&out->reason, property);
  berth_refuse(out, "`");
}

static void end_document(berth_out *out) {
  for (const berth_member *member = out->form->members; member->name != NULL; member++) {
    if (member->form == BERTH_REQUIRED) refuse_without(out, member->name);
  }
  berth_buffer *to = &out->made;
  if (to->length > 0) berth_append(to, ",", 1);
  berth_append_text(to, "{\"Type\":");
  berth_append_string(to, (const char *)out->context->kind.ptr, out->context->kind.len);
  berth_append_text(to, ",\"Properties\":{");
  for (size_t at = 0; at < out->count; at++) {
    if (at > 0) berth_append(to, ",", 1);
    berth_append(to, "\"", 1);
    berth_append(to, out->entries[at].name.text, out->entries[at].name.length);
    berth_append_text(to, "\":");
    append_formed(to, &out->entries[at]);
  }
  if (out->extra.length > 0) {
    berth_append_text(to, "},\"__ExtraContext\":{");
    berth_append(to, out->extra.data, out->extra.length);
  }
  berth_append(to, "}", 1);
  string_member(to, "__AccountId", out->context->account_id);
  if (out->context->region.is_some) string_member(to, "__Region", out->context->region.val);
  berth_append(to, "}", 1);
}

// --- Batches ---

bool berth_option(const berth_context *context, const char *option) {
  for (size_t at = 0; at < context->options.len; at++) {
    const plugin_string_t on = context->options.ptr[at];
    if (alike((berth_json){(const char *)on.ptr, on.len}, option)) return true;
  }
  return false;
}

void berth_log(berth_plugin_log_level_t level, const char *message) {
  plugin_string_t line;
  plugin_string_set(&line, message);
  berth_plugin_log_log(level, &line);
}

// The item if it is a text, else its first member that ends in `Arn`, then `Id`, then `Name`.
static berth_json name_of(berth_json item) {
  if (berth_is_string(item)) return item;
  static const char *const ENDINGS[] = {"arn", "id", "name"};
  for (size_t ending = 0; ending < 3; ending++) {
    const size_t length = strlen(ENDINGS[ending]);
    berth_json member = {0}, value = {0};
    while (berth_next_member(item, &member, &value)) {
      if (member.length < length || !berth_is_string(value) || value.length <= 2) continue;
      const char *tail = member.text + member.length - length;
      bool ends = true;
      for (size_t at = 0; at < length; at++) ends = ends && (tail[at] | 0x20) == ENDINGS[ending][at];
      if (ends) return value;
    }
  }
  return (berth_json){0};
}

static void append_number(berth_buffer *to, size_t number) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  berth_append(to, digits + at, sizeof digits - at);
}

static void append_error(berth_buffer *to, const berth_out *out, size_t index, berth_json item) {
  if (to->length > 0) berth_append(to, ",", 1);
  berth_append_text(to, "{\"index\":");
  append_number(to, index);
  berth_append_text(to, ",\"resource\":");
  const berth_json name = name_of(item);
  if (name.text != NULL) {
    berth_append_json(to, name);
  } else {
    berth_append_text(to, "\"#");
    append_number(to, index);
    berth_append_text(to, "\"");
  }
  berth_append_text(to, ",\"reason\":");
  berth_append_string(to, out->reason.data, out->reason.length);
  berth_append(to, "}", 1);
}

static const berth_kind *kind_of(const berth_context *context) {
  for (const berth_kind *kind = berth_kinds; kind->kind != NULL; kind++) {
    if (alike((berth_json){(const char *)context->kind.ptr, context->kind.len}, kind->kind)) return kind;
  }
  return NULL;
}

void exports_berth_plugin_mapper_manifest(plugin_list_u8_t *manifest) {
  plugin_string_t copy;
  plugin_string_dup_n(&copy, (const char *)MANIFEST, sizeof MANIFEST);
  *manifest = (plugin_list_u8_t){copy.ptr, copy.len};
}

bool exports_berth_plugin_mapper_map_batch(berth_context *context, plugin_list_u8_t *resources,
                                           plugin_list_u8_t *report, plugin_string_t *reason) {
  const berth_kind *kind = kind_of(context);
  if (kind == NULL) {
    plugin_string_dup(reason, "this plugin does not map the kind that was asked for");
    return false;
  }
  const bool documents = context->output == EXPORTS_BERTH_PLUGIN_MAPPER_OUTPUT_DOCUMENTS;
  berth_out out = {.context = context};
  berth_buffer errors = {0};
  const berth_json batch = {(const char *)resources->ptr, resources->len};
  size_t index = 0;
  for (berth_json element = {0}; berth_next(batch, &element); index++) {
    const berth_resource resource = {berth_get(element, "item"), berth_get(element, "steps"),
                                     berth_get(element, "parents")};
    const size_t before = out.made.length;
    (documents ? kind->documents : kind->entities)(&resource, context, &out);
    end(&out);
    if (out.refused) {
      // All of a resource or nothing.
      out.made.length = before;
      append_error(&errors, &out, index, resource.item);
    }
    out.refused = false;
    out.reason.length = 0;
  }
  berth_buffer whole = {0};
  berth_append_text(&whole, documents ? "{\"documents\":[" : "{\"entities\":[");
  berth_append(&whole, out.made.data, out.made.length);
  berth_append_text(&whole, "],\"errors\":[");
  berth_append(&whole, errors.data, errors.length);
  berth_append_text(&whole, "]}");
  *report = (plugin_list_u8_t){(uint8_t *)whole.data, whole.length};
  berth_buffer *const buffers[] = {&errors,         &out.made,  &out.head,  &out.properties,
                                   &out.relations, &out.extra, &out.reason};
  for (size_t at = 0; at < sizeof buffers / sizeof *buffers; at++) free(buffers[at]->data);
  free(out.entries);
  // What was printed, and is not yet in the log.
  fflush(NULL);
  plugin_list_u8_free(resources);
  exports_berth_plugin_mapper_context_free(context);
  return true;
}

// The bindings ask for an object file with the contract's types, which `berth plugin build` adds itself.
void __component_type_object_force_link_plugin(void);
void __component_type_object_force_link_plugin(void) {}
