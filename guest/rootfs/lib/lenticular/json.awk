# Flattens a JSON document: one line per scalar, "path<TAB>value", the path's steps joined by dots.
# In values, backslash, newline and tab are written \\, \n and \t, so that each stays on its line; printf %b undoes it.

{ text = text $0 "\n" }

END {
    advance()
    value("")
}

function advance() {
    sub(/^[ \t\r\n]+/, "", text)
    if (match(text, /^"([^"\\]|\\.)*"/) || match(text, /^[][{},:]/) || match(text, /^[^][{},:" \t\r\n]+/)) {
        token = substr(text, 1, RLENGTH)
        text = substr(text, RLENGTH + 1)
    } else {
        token = ""
    }
}

function join(path, step) { return path == "" ? step : path "." step }

function value(path,    i) {
    if (token == "{") {
        advance()
        while (token != "}" && token != "") {
            i = plain(token)
            advance() # the colon
            advance()
            value(join(path, i))
            if (token == ",") advance()
        }
    } else if (token == "[") {
        advance()
        for (i = 0; token != "]" && token != ""; i++) {
            value(join(path, i))
            if (token == ",") advance()
        }
    } else if (token != "null") {
        print path "\t" plain(token)
    }
    advance()
}

# The text of a string token, newline, tab and backslash still escaped; other tokens stand for themselves.
function plain(raw,    out, at, c, code, low) {
    if (substr(raw, 1, 1) != "\"") return raw
    raw = substr(raw, 2, length(raw) - 2)
    out = ""
    while ((at = index(raw, "\\")) > 0) {
        out = out substr(raw, 1, at - 1)
        c = substr(raw, at + 1, 1)
        raw = substr(raw, at + 2)
        if (c == "n" || c == "t" || c == "\\") out = out "\\" c
        else if (c == "u") {
            code = hex(substr(raw, 1, 4))
            raw = substr(raw, 5)
            if (code >= 55296 && code < 56320 && substr(raw, 1, 2) == "\\u") {
                low = hex(substr(raw, 3, 4))
                raw = substr(raw, 7)
                code = 65536 + (code - 55296) * 1024 + (low - 56320)
            }
            out = out utf8(code)
        } else if (c == "\"" || c == "/") out = out c
        # Of the rest (\b, \f, \r) nothing in a name or a key can make use.
    }
    return out raw
}

function hex(digits,    n, i) {
    n = 0
    for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return n
}

function byte(n) { return sprintf("%c", n) }

function utf8(code) {
    if (code == 10) return "\\n"
    if (code == 9) return "\\t"
    if (code == 92) return "\\\\"
    if (code < 32) return ""
    if (code < 128) return byte(code)
    if (code < 2048) return byte(192 + int(code / 64)) byte(128 + code % 64)
    if (code < 65536) return byte(224 + int(code / 4096)) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
    return byte(240 + int(code / 262144)) byte(128 + int(code / 4096) % 64) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
}
