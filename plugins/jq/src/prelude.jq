# Definitions in which jaq and libjq 1.8 differ, or that jaq has not, as libjq has them.

# Entries as AWS writes them (`Key`, `Value`) count, too.
def from_entries: reduce .[] as $x ({};
  . + {($x | .key // .name // .Name // .Key
          | if isstring then . else error("cannot use \(tojson) as object key") end):
       ($x | if has("value") then .value else .Value end)});
def with_entries(f): to_entries | map(f) | from_entries;

# Null joins as nothing; lists and objects do not join.
def join($s): reduce .[] as $x (null;
  (if . == null then "" else . + $s end)
  + ($x | if . == null then "" elif isnumber or isboolean then tojson else . end)) // "";

def _flatten($d): reduce .[] as $x ([];
  if ($x | isarray) and $d != 0 then . + ($x | _flatten($d - 1)) else . + [$x] end);
def flatten($d): if $d < 0 then error("flatten depth must not be negative") else _flatten($d) end;
def flatten: _flatten(-1);

def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);

def _fromjson: fromjson;
def fromjson:
  if . == "nan" then nan
  else [_mended | _fromjson] | if length == 1 then .[0] else error("not one value in JSON") end end;
def tonumber:
  if isnumber then .
  elif . == "nan" then nan
  elif isstring and test("^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?$") then
    sub("^\\+"; "") | sub("^(?<sign>-?)0+(?<digit>[0-9])"; .sign + .digit)
    | sub("^(?<sign>-?)\\."; .sign + "0.") | sub("\\.(?<rest>[eE]|$)"; .rest) | fromjson
  else error("\(tojson) cannot be parsed as a number") end;

# Null contains nothing, and other types do not contain each other.
def _contains($x): contains($x);
def contains($x): if type == ($x | type) then _contains($x)
  else error("\(type) and \($x | type) cannot have their containment checked") end;
def inside(xs): . as $x | xs | contains($x);
def _indices($i): indices($i);
def indices($i): if . == null then null else _indices($i) end;
def index($i): indices($i)[0];
def rindex($i): indices($i)[-1];
def _reverse: reverse;
def reverse: if . == null then [] else _reverse end;
def _limit($n; f): limit($n; f);
def limit($n; f): if $n < 0 then error("limit doesn't support negative count") else _limit($n; f) end;
def nth($n; f): first(skip($n; f));
def gamma: lgamma;
def inputs: empty;
def input_filename: null;

def trimstr($s): ltrimstr($s) | rtrimstr($s);
def have_literal_numbers: true;
def have_decnum: true;

# Missing containers are created.
def setpath($path; $value):
  if $path == [] then $value
  else
    $path[0] as $key
    | (if . != null then . elif $key | isnumber or isobject then [] else {} end)
    | if isarray and ($key | isnumber) then until(length > $key; . + [null]) else . end
    | .[$key] = (.[$key] | setpath($path[1:]; $value))
  end;

# Deleting what is not there is no error, and keeps the order of the rest.
def _delpath($path): $path[0] as $key
  | if . == null then .
    elif $path | length > 1 then
      if .[$key] == null then . else .[$key] = (.[$key] | _delpath($path[1:])) end
    elif isobject then with_entries(select(.key != $key))
    elif isarray and ($key | isnumber) and ($key >= length or $key < -length) then .
    else .[$key] |= empty end;
def delpaths($paths):
  reduce ($paths | sort | reverse[]) as $path (.; if $path == [] then null else _delpath($path) end);
def del(f): delpaths([path(f)]);

# What operators become, see `rewrite.rs`.
def _slice(f): if . == null then . else f end;
def _assign(paths; $value): reduce path(paths) as $path (.; setpath($path; $value));
def _modify(paths; update):
  reduce path(paths) as $path ([., []];
    [first(.[0] | getpath($path) | update)] as $new
    | if $new == [] then [.[0], .[1] + [$path]] else [(.[0] | setpath($path; $new[0])), .[1]] end)
  | .[1] as $deleted | .[0] | delpaths($deleted);
def _whole: if . < 0 then ceil else floor end;
def _mul($a; $b):
  def times($n): if $n < 0 then null elif $n < 1 then "" else . * ($n | floor) end;
  if ($a | isstring) and ($b | isnumber) then $a | times($b)
  elif ($a | isnumber) and ($b | isstring) then $b | times($a)
  else $a * $b end;
def _div($a; $b):
  if ($a | isnumber) and $b == 0
  then error("\($a) and \($b) cannot be divided because the divisor is zero")
  else $a / $b end;
def _mod($a; $b):
  if ($a | isnumber) and ($b | isnumber) and ($a | isnan or isinfinite | not) and ($b | isnan or isinfinite | not) then
    ($b | _whole) as $divisor
    | if $divisor == 0
      then error("\($a) and \($b) cannot be divided because the divisor is zero")
      else ($a | _whole) % $divisor end
  else $a % $b end;

def pick(f): . as $top | reduce path(f) as $path (null; setpath($path; $top | getpath($path)));

def tostream:
  def steps: if isarray or isobject then keys_unsorted[] else empty end;
  def rec($path; $top):
    . as $value
    | if (isarray or isobject) and length > 0 then
        (steps as $key | $value[$key] | rec($path + [$key]; false)),
        [$path + [$value | if isarray then length - 1 else keys_unsorted[-1] end]]
      else [$path, $value], (if $top then [[]] else empty end) end;
  if (isarray or isobject) and length > 0 then rec([]; true) else [[], .] end;
def fromstream(f): {x: null, e: false} as $init
  | foreach f as $i ($init;
      if .e then $init else . end
      | if $i | length == 2
        then setpath(["e"]; $i[0] | length == 0) | setpath(["x"] + $i[0]; $i[1])
        else setpath(["e"]; $i[0] | length == 1) end;
      if .e then .x else empty end);

# Times: whole seconds, `Z` only, and lists such as `gmtime` gives.
def _strptime($f): strptime($f);
def strptime($f):
  if test("[+-][0-9]{2}:[0-9]{2}$") then _strptime($f | sub("%z$"; "%:z")) else _strptime($f) end;
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def fromdate: fromdateiso8601;
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def todate: todateiso8601;
def _strftime($f): strftime($f);
def strftime($f): _strftime(if $f | isstring
  then $f | gsub("%(?<c>.)"; if .c == "Z" then "GMT" elif .c == "c" then "%a %b %e %H:%M:%S %Y" else "%" + .c end)
  else $f end);
def dateadd(unit; $n): . + $n;
def datesub(unit; $n): . - $n;

def @base64d: tostring | gsub("=+$"; "") | . + "==="[:(4 - length % 4) % 4] | decode_base64;
def @csv: if isarray then . else error("\(tojson) cannot be csv-formatted, only an array can be") end | map(
    if isnumber then tojson elif isboolean then tostring elif . == null then ""
    elif isstring then "\"\(gsub("\""; "\"\""))\""
    else error("\(tojson) is not valid in a csv row") end) | join(",");
def @tsv: if isarray then . else error("\(tojson) cannot be tsv-formatted, only an array can be") end | map(
    if isnumber or isboolean then tostring elif . == null then ""
    elif isstring then gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r")
    else error("\(tojson) cannot be tsv-formatted, only string or number or bool can") end) | join("\t");

# Regular expressions. A group that did not match is null; expression and flags may come as a list.
def test($val): if $val | isarray then test($val[0]; $val[1]) else test($val; null) end;
def match($val): if $val | isarray then match($val[0]; $val[1]) else match($val; null) end;
def capture($val): if $val | isarray then capture($val[0]; $val[1]) else capture($val; null) end;
def scan($re; $flags): match($re; "g" + $flags)
  | if .captures | length > 0 then [.captures[].string] else .string end;
def scan($re): scan($re; null);
