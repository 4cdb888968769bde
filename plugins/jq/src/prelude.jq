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

def tonumber:
  if isnumber then .
  elif isstring and test("^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?$") then
    sub("^\\+"; "") | sub("^(?<sign>-?)0+(?<digit>[0-9])"; .sign + .digit)
    | sub("^(?<sign>-?)\\."; .sign + "0.") | sub("\\.(?<rest>[eE]|$)"; .rest) | fromjson
  else error("\(tojson) cannot be parsed as a number") end;

def trimstr($s): ltrimstr($s) | rtrimstr($s);
def have_literal_numbers: true;
def have_decnum: true;

# Missing containers are created.
def setpath($path; $value):
  if $path == [] then $value
  else
    $path[0] as $key
    | (if . != null then . elif $key | isnumber then [] else {} end)
    | until(isobject or ($key | isstring) or length > $key; . + [null])
    | .[$key] = (.[$key] | setpath($path[1:]; $value))
  end;
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
def dateadd(unit; $n): . + $n;
def datesub(unit; $n): . - $n;

def @csv: map(
    if isnumber then tojson elif isboolean then tostring elif . == null then ""
    elif isstring then "\"\(gsub("\""; "\"\""))\""
    else error("\(tojson) is not valid in a csv row") end) | join(",");
def @tsv: map(
    if isnumber or isboolean then tostring elif . == null then ""
    elif isstring then gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r")
    else error("\(tojson) cannot be tsv-formatted, only string or number or bool can") end) | join("\t");
