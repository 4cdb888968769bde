//! What a Berth plugin in Zig is written with: the SDK in C (`berth.h`, `berth.c`) as Zig has it.
//!
//! - Values are pieces of the batch's JSON text. Nothing is parsed or copied that is only passed on.
//! - What is missing is null, as it is for a mapping in JQ.
//! - A resource that the mapping refuses, or fails on with an error, becomes an entry of `errors`; the others
//!   of its batch are mapped.
//! - There is no network and no file. What the standard library asks of the system is answered with nothing,
//!   or always the same; what is printed arrives in Berth's log.

const std = @import("std");

/// A name. Names are compared with the JSON text as it stands: none of AWS's names has escapes.
pub const Name = [*:0]const u8;

/// A value: its JSON text, or nothing where there is none.
pub const Json = extern struct {
    text: ?[*]const u8 = null,
    length: usize = 0,

    /// A member of an object; nothing, where there is no such member or no object.
    pub fn get(object: Json, name: Name) Json {
        return berth_get(object, name);
    }

    pub fn isObject(value: Json) bool {
        return berth_is_object(value);
    }

    pub fn isList(value: Json) bool {
        return berth_is_list(value);
    }

    pub fn isString(value: Json) bool {
        return berth_is_string(value);
    }

    /// Whether it is null, or is missing.
    pub fn isNull(value: Json) bool {
        return berth_is_null(value);
    }

    /// Whether it is this string. The text must need no escapes.
    pub fn equals(value: Json, text: Name) bool {
        return berth_equals(value, text);
    }

    /// Its JSON text, as `std.json` reads it.
    pub fn slice(value: Json) []const u8 {
        return if (value.text) |text| text[0..value.length] else "null";
    }

    /// The elements of a list; none, where it is no list.
    pub fn elements(list: Json) Elements {
        return .{ .list = list };
    }
};

/// The elements of a list.
pub const Elements = struct {
    list: Json,
    last: Json = .{},

    pub fn next(self: *Elements) ?Json {
        return if (berth_next(self.list, &self.last)) self.last else null;
    }
};

/// A text of the context.
pub const Text = extern struct {
    ptr: [*]const u8,
    len: usize,

    pub fn slice(text: Text) []const u8 {
        return text.ptr[0..text.len];
    }
};

/// Where a batch comes from.
pub const Context = extern struct {
    kind: Text,
    account_id: Text,
    account_name: Text,
    region: extern struct { is_some: bool, value: Text },
    partition: Text,
    options: extern struct { ptr: [*]const Text, len: usize },
    output: u8,

    /// Whether an option (`includeActions`) is switched on.
    pub fn option(context: *const Context, name: Name) bool {
        return berth_option(context, name);
    }
};

/// One resource: what AWS said.
pub const Resource = extern struct {
    /// The element of the list.
    item: Json,
    /// What later steps of the plan added to it, by the step's name.
    steps: Json,
    /// The items of the steps that it comes from.
    parents: Json,
};

/// How a property of a kind's documents is kept.
pub const Form = enum(c_int) {
    as_is,
    /// Without it there is no document. For what identifies the resource.
    required,
    /// A time, see `Out.propertyTime`.
    time,
    /// A number, or a truth value, that AWS puts in quotes.
    int,
    bool,
};

/// A property that is not kept as it is, or that has another name than AWS's member.
pub const Member = extern struct {
    /// Its name in documents. It is read from the member of that name, with a capital or a small first letter.
    name: ?Name = null,
    form: Form = .as_is,
    /// Another member to read it from.
    from: ?Name = null,
    /// The names of members below it that are times, closed by null: `&.{ "AttachTime", null }`.
    times: ?[*]const ?Name = null,
};

/// The properties of a kind's documents.
pub const Properties = extern struct {
    /// Closed by a member without a name: `.{}`.
    members: [*]const Member,
    /// Whether members that are not listed are left out. If not, they are kept as they are.
    drop_unknown: bool = false,
};

/// What becomes of a resource.
pub const Out = opaque {
    /// Begins an entity. The identifier must be a string that is not empty, or the resource is refused.
    pub fn entity(out: *Out, blueprint: Name, identifier: Json) void {
        berth_entity(out, blueprint, identifier);
    }

    pub fn title(out: *Out, value: Json) void {
        berth_title(out, value);
    }

    pub fn property(out: *Out, name: Name, value: Json) void {
        berth_property(out, name, value);
    }

    /// A time as documents have it: UTC with `Z`, no fraction where it is zero, else six digits. What is no
    /// ISO 8601 time with an offset stays as it is.
    pub fn propertyTime(out: *Out, name: Name, value: Json) void {
        berth_property_time(out, name, value);
    }

    pub fn relation(out: *Out, name: Name, target_: Json) void {
        berth_relation(out, name, target_);
    }

    /// A relation to something that the context names, as in `context.account_id`.
    pub fn relationText(out: *Out, name: Name, target_: Text) void {
        berth_relation_text(out, name, target_);
    }

    /// A relation to many: begun here, then each with `target`.
    pub fn relationMany(out: *Out, name: Name) void {
        berth_relation_many(out, name);
    }

    pub fn target(out: *Out, value: Json) void {
        berth_target(out, value);
    }

    /// Begins a document: what users' own JQ mappings see.
    pub fn document(out: *Out, properties: *const Properties) void {
        berth_document(out, properties);
    }

    /// Takes over the members of an object. What is merged later wins.
    pub fn merge(out: *Out, members: Json) void {
        berth_merge(out, members);
    }

    /// Sets a property, whatever was merged under its name.
    pub fn set(out: *Out, name: Name, value: Json) void {
        berth_set(out, name, value);
    }

    /// Adds a member to `__ExtraContext`.
    pub fn extra(out: *Out, name: Name, value: Json) void {
        berth_extra(out, name, value);
    }

    /// Adds `AccountId` and, for a kind that is regional, `Region` to `__ExtraContext`.
    pub fn origin(out: *Out) void {
        berth_origin(out);
    }

    /// The resource cannot be mapped, for this reason, in words for whoever runs the sync. What was made of it
    /// is dropped; the first reason counts.
    pub fn refuse(out: *Out, reason: Name) void {
        berth_refuse(out, reason);
    }

    /// The value stands where something else was expected: `an object`, `a list`.
    pub fn refuseValue(out: *Out, value: Json, expected: Name) void {
        berth_refuse_value(out, value, expected);
    }
};

/// How important a line of the log is.
pub const Level = enum(u8) { debug, info, warn, err };

/// Writes a line into the host's log.
pub fn log(level: Level, message: Name) void {
    berth_log(@intFromEnum(level), message);
}

/// For `pub const panic`: the reason of a panic becomes that of the failure, without what the standard library
/// imports to print it.
pub const panic = std.debug.FullPanic(panicked);

fn panicked(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    const start = "panicked: ";
    var line: [512]u8 = undefined;
    const length = @min(message.len, line.len - start.len);
    @memcpy(line[0..start.len], start);
    @memcpy(line[start.len..][0..length], message[0..length]);
    berth_plugin_log_log(@intFromEnum(Level.err), &.{ .ptr = &line, .len = start.len + length });
    @trap();
}

/// A kind and its mapping, both functions of `(*const Resource, *const Context, *Out) !void`. They may make
/// several of what they make, or none.
pub fn kind(comptime name: Name, comptime entities: anytype, comptime documents: anytype) Kind {
    return .{ .kind = name, .entities = called(entities), .documents = called(documents) };
}

pub const Mapping = *const fn (*const Resource, *const Context, *Out) callconv(.c) void;

/// As the SDK in C has it.
pub const Kind = extern struct {
    kind: ?Name = null,
    entities: ?Mapping = null,
    documents: ?Mapping = null,
};

fn called(comptime mapping: anytype) Mapping {
    return struct {
        fn call(resource: *const Resource, context: *const Context, out: *Out) callconv(.c) void {
            const made: anyerror!void = mapping(resource, context, out);
            made catch |failed| out.refuse(@errorName(failed));
        }
    }.call;
}

extern fn berth_get(Json, Name) Json;
extern fn berth_is_object(Json) bool;
extern fn berth_is_list(Json) bool;
extern fn berth_is_string(Json) bool;
extern fn berth_is_null(Json) bool;
extern fn berth_next(Json, *Json) bool;
extern fn berth_equals(Json, Name) bool;
extern fn berth_option(*const Context, Name) bool;
extern fn berth_entity(*Out, Name, Json) void;
extern fn berth_title(*Out, Json) void;
extern fn berth_property(*Out, Name, Json) void;
extern fn berth_property_time(*Out, Name, Json) void;
extern fn berth_relation(*Out, Name, Json) void;
extern fn berth_relation_text(*Out, Name, Text) void;
extern fn berth_relation_many(*Out, Name) void;
extern fn berth_target(*Out, Json) void;
extern fn berth_document(*Out, *const Properties) void;
extern fn berth_merge(*Out, Json) void;
extern fn berth_set(*Out, Name, Json) void;
extern fn berth_extra(*Out, Name, Json) void;
extern fn berth_origin(*Out) void;
extern fn berth_refuse(*Out, Name) void;
extern fn berth_refuse_value(*Out, Json, Name) void;
extern fn berth_log(u8, Name) void;
extern fn berth_plugin_log_log(u8, *const Text) void;
