// What a Berth plugin in JavaScript is written with: the contract (`wit/plugin.wit`) on one side, the
// plugin's own mapping on the other.
//
// - A resource whose mapping throws becomes an entry of `errors`; the others of its batch are mapped.
// - What is missing is null, as it is for a mapping in JQ.
// - What is printed (`console.log`) arrives in Berth's log. The clock is that of the batch, and random numbers
//   are always the same; what the mapping makes must not depend on them.
// - There is no network and no file.

import { log as write } from 'berth:plugin/log@1.0.0';
// Written by `berth plugin build`.
import manifest from './manifest.js';

/** Lines for the host's log. */
export const log = {
  debug: (message) => write('debug', String(message)),
  info: (message) => write('info', String(message)),
  warn: (message) => write('warn', String(message)),
  error: (message) => write('error', String(message)),
};

/** Why a resource cannot be mapped, in words for whoever runs the sync. */
export class Refused extends Error {
  /** @param {string} reason @param {string} [resource] its name; else an ARN, id or name in it */
  constructor(reason, resource) {
    super(reason);
    this.resource = resource;
  }
}

/**
 * A plugin of one or several kinds: `{ kind, entities(resource, context), documents(resource, context) }`.
 *
 * A resource is `{ item, steps, parents }`; a context is `{ kind, accountId, accountName, region,
 * partition, options, output }`, where `region` is undefined for kinds that are not regional. Both
 * functions return one, or a list of what they make; a list may be empty.
 */
export function plugin(...kinds) {
  const bytes = new TextEncoder().encode(manifest);
  return {
    manifest: () => bytes,
    mapBatch(context, resources) {
      const kind = kinds.find(({ kind }) => kind === context.kind);
      if (!kind) {
        throw `this plugin does not map \`${context.kind}\`; it maps ${kinds.map(({ kind }) => kind).join(', ')}`;
      }
      try {
        return mapBatch(kind, context, resources);
      } catch (error) {
        // Only a text is told; anything else would look like a crash.
        throw typeof error === 'string' ? error : reasonOf(error);
      }
    },
  };
}

function mapBatch(kind, context, bytes) {
  let resources;
  try {
    resources = parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw `the batch is not JSON in UTF-8: ${error.message}`;
  }
  if (!Array.isArray(resources)) throw 'the batch is not a JSON array';
  const documents = context.output === 'documents';
  const [made, errors] = [[], []];
  resources.forEach((resource, index) => {
    try {
      const known = { steps: {}, parents: {}, ...object(resource) };
      if (known.item === undefined) throw new Refused('it has no `item`');
      const output = documents ? kind.documents(known, context) : kind.entities(known, context);
      if (output == null) throw new Error(`the mapping returned nothing; return [] where there is none`);
      // All of a resource or nothing: hence first here, then there.
      const texts = [output].flat().map((one) => JSON.stringify(documents ? document(one) : entity(one)));
      made.push(...texts);
    } catch (error) {
      const name = (error instanceof Refused && error.resource) || nameOf(resource?.item) || `#${index}`;
      errors.push({ index, resource: name, reason: reasonOf(error) });
    }
  });
  const list = documents ? 'documents' : 'entities';
  return new TextEncoder().encode(`{"${list}":[${made.join()}],"errors":${JSON.stringify(errors)}}`);
}

/** A refusal in its own words; anything else with its name and where it comes from. */
function reasonOf(error) {
  if (error instanceof Refused) return error.message;
  if (!(error instanceof Error)) return `the mapping threw ${String(error)}`;
  const at = error.stack?.split('\n').find((line) => line && !line.includes('sdk/berth.js'));
  return `the mapping threw ${error}${at ? ` (${at})` : ''}`;
}

/** The item if it is a text, else its first member that ends in `Arn`, then `Id`, then `Name`. */
function nameOf(item) {
  if (typeof item === 'string') return item;
  if (typeof item !== 'object' || item === null) return undefined;
  for (const ending of ['arn', 'id', 'name']) {
    for (const [name, value] of Object.entries(item)) {
      if (name.toLowerCase().endsWith(ending) && typeof value === 'string' && value) return value;
    }
  }
  return undefined;
}

// Whole numbers that a JavaScript number cannot hold are BigInts, and leave as they came. This finds where
// there may be some, and is quick, as it need not look at every character.
const LONG_NUMBER = /\d{16}/;
BigInt.prototype.toJSON = function () {
  return JSON.rawJSON(this.toString());
};

function parse(text) {
  if (!LONG_NUMBER.test(text)) return JSON.parse(text);
  const unsafe = (value) => typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER;
  return JSON.parse(text, (_, value, { source }) =>
    unsafe(value) && /^-?\d+$/.test(source) ? BigInt(source) : value,
  );
}

/** The value, if it is an object; throws if it is not. */
export function object(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw isNo(value, 'an object');
  return value;
}

/** The value, if it is a list; throws if it is not. */
export function list(value) {
  if (!Array.isArray(value)) throw isNo(value, 'a list');
  return value;
}

function isNo(value, expected) {
  const start = (JSON.stringify(value) ?? 'nothing').slice(0, 40);
  return new Refused(`\`${start}\` stands where ${expected} is expected`);
}

const ENTITY = ['blueprint', 'identifier', 'title', 'icon', 'team', 'properties', 'relations'];

function entity(made) {
  const { blueprint, identifier } = object(made);
  const unknown = Object.keys(made).find((name) => !ENTITY.includes(name));
  if (unknown) throw new Error(`an entity has no \`${unknown}\`, only ${ENTITY.join(', ')}`);
  if (typeof blueprint !== 'string' || !blueprint) throw new Error('the entity has no blueprint');
  if (typeof identifier !== 'string' || !identifier) {
    throw new Refused(`it has no identifier for the blueprint \`${blueprint}\``);
  }
  for (const part of ['properties', 'relations']) {
    if (part in made) undefinedToNull(object(made[part]));
  }
  return undefinedToNull(made);
}

/** JSON would leave out what is undefined, and Port would keep the value that it has. */
function undefinedToNull(members) {
  for (const name of Object.keys(members)) {
    if (members[name] === undefined) members[name] = null;
  }
  return members;
}

/** An object of members with any names, `__proto__` included. */
function record(entries) {
  const members = Object.create(null);
  for (const [name, value] of entries) members[name] = value;
  return members;
}

/**
 * The properties of a kind's documents that are not kept as they are, by name. Members that are not
 * listed are kept. A property is read from the member of its name, with a capital or a small first
 * letter, or from `from`. Forms:
 * - `required: true`: without it there is no document. For what identifies the resource.
 * - `time: true`, `int: true`, `bool: true`: a time, see `time`; a number or a truth value in quotes.
 * - `times: ['AttachTime']`: members of these names below are times.
 */
export function keepingUnknown(listed) {
  return { listed: Object.entries(listed), keepUnknown: true };
}

/** As `keepingUnknown`, but members that are not listed are left out. */
export function droppingUnknown(listed) {
  return { listed: Object.entries(listed), keepUnknown: false };
}

/** A document: what users' own JQ mappings see. */
export class Document {
  #context;
  #properties;
  #entries = new Map();
  #extra = new Map();

  constructor(context, properties) {
    this.#context = context;
    this.#properties = properties;
  }

  /** Takes over the members of an object. What is merged later wins. */
  merge(members) {
    const { listed, keepUnknown } = this.#properties;
    for (const [member, value] of Object.entries(object(members))) {
      const found = listed.find(([name, { from }]) => isNamed(member, name, from));
      if (found) {
        const [name, form] = found;
        const byName = member === name;
        if (byName || !this.#entries.get(name)?.byName) {
          this.#entries.set(name, { value: formed(value, form), byName });
        }
      } else if (keepUnknown) {
        this.#entries.set(member, { value, byName: true });
      }
    }
    return this;
  }

  /** Sets a property, whatever was merged under its name. */
  set(name, value) {
    this.#entries.set(name, { value: value ?? null, byName: true });
    return this;
  }

  /** Adds a member to `__ExtraContext`. */
  context(name, value) {
    this.#extra.set(name, value ?? null);
    return this;
  }

  /** Adds `AccountId` and, for a kind that is regional, `Region` to `__ExtraContext`. */
  origin() {
    const { accountId, region } = this.#context;
    this.context('AccountId', accountId);
    return region == null ? this : this.context('Region', region);
  }

  toJSON() {
    const { kind, accountId, region } = this.#context;
    for (const [name, { required }] of this.#properties.listed) {
      if (required && this.#entries.get(name)?.value == null) throw new Refused(`it has no \`${name}\``);
    }
    return {
      Type: kind,
      Properties: record([...this.#entries].map(([name, { value }]) => [name, value])),
      ...(this.#extra.size > 0 && { __ExtraContext: record(this.#extra) }),
      __AccountId: accountId,
      ...(region != null && { __Region: region }),
    };
  }
}

function document(made) {
  if (!(made instanceof Document)) throw new Error('`documents` returned something that is no Document');
  return made;
}

function isNamed(member, name, from) {
  if (member === name) return true;
  return from ? member === from : member.charAt(0).toUpperCase() + member.slice(1) === name;
}

function formed(value, { time: isTime, times, int, bool }) {
  if (isTime) return time(value);
  if (times) return timesIn(value, times, false);
  if (int && typeof value === 'string' && /^[+-]?\d{1,18}$/.test(value)) {
    return Number.isSafeInteger(Number(value)) ? Number(value) : BigInt(value);
  }
  if (bool && (value === 'true' || value === 'false')) return value === 'true';
  return value;
}

function timesIn(value, names, isTime) {
  if (typeof value === 'string') return isTime ? time(value) : value;
  if (Array.isArray(value)) return value.map((element) => timesIn(element, names, isTime));
  if (typeof value !== 'object' || value === null) return value;
  return record(Object.entries(value).map(([name, member]) => [name, timesIn(member, names, names.includes(name))]));
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d*))?(Z|[+-]\d\d:?\d\d)$/;

/** A time as documents have it: UTC with `Z`, no fraction where it is zero, else six digits. What is no
 * ISO 8601 time with an offset stays as it is; what is missing is null. */
export function time(value) {
  const found = typeof value === 'string' && TIME.exec(value);
  if (!found) return value ?? null;
  const [, year, month, day, hour, minute, second, fraction = '', offset] = found;
  const date = new Date(0);
  // Unlike the constructor, this takes the first hundred years for what they are.
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  const isDate = date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
  if (!isDate || Number(hour) > 23 || Number(minute) > 59) return value;
  let minutes = 0;
  if (offset !== 'Z') {
    const [hours, rest] = [Number(offset.slice(1, 3)), Number(offset.slice(-2))];
    if (hours > 23 || rest > 59) return value;
    minutes = (offset[0] === '-' ? -1 : 1) * (hours * 60 + rest);
  }
  date.setUTCHours(Number(hour), Number(minute) - minutes);
  const micros = fraction.slice(0, 6).padEnd(6, '0');
  return `${date.toISOString().slice(0, 17)}${second}${micros === '000000' ? '' : `.${micros}`}Z`;
}
