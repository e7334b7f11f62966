#!/usr/bin/env bash
# Opens reports in a headless Chromium, 1280 and 400 pixels wide: no image may be missing, nothing may be wider than the window,
# and the console must stay silent.
#
#   tools/check_report.sh PAGE.html...      Debian: chromium
set -euo pipefail

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "there is no Chromium: apt-get install chromium" >&2
    exit 2
}
[ $# -gt 0 ] || {
    sed -n '2,5s/^# \?//p' "$0" >&2
    exit 2
}
folder=$(mktemp -d)
trap 'rm -rf "$folder" || true' EXIT # the browser may still be writing

# Looks into the page from a frame around it: the page itself allows no script.
frame() { # page width
    cat <<END
<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><pre id="found">not loaded</pre>
<iframe id="page" style="border:0;width:$2px;height:2000px" src="file://$1"></iframe>
<script>
const frame = document.getElementById("page");
frame.onload = () => {
    const page = frame.contentDocument, images = [...page.images];
    const missing = images.filter(i => !i.complete || i.naturalWidth === 0).length;
    document.getElementById("found").textContent = "images " + images.length + " missing " + missing +
        " wide " + page.documentElement.scrollWidth + " text " + page.body.innerText.length;
};
</script>
END
}

failed=0
for page in "$@"; do
    page=$(realpath "$page")
    for width in 1280 400; do
        frame "$page" "$width" >"$folder/frame.html"
        found=$(timeout 300 "$browser" --headless --no-sandbox --disable-gpu --disable-web-security \
            --allow-file-access-from-files --user-data-dir="$folder/profile" --window-size="$((width + 20)),2100" \
            --virtual-time-budget=10000 --enable-logging=stderr --dump-dom "file://$folder/frame.html" \
            2>"$folder/log" | sed -n 's/.*id="found">\([^<]*\)<.*/\1/p')
        console=$(grep -c 'CONSOLE' "$folder/log" || true)
        verdict=ok
        [[ $found =~ ^images\ ([0-9]+)\ missing\ 0\ wide\ ([0-9]+)\ text\ [1-9] ]] && [ "${BASH_REMATCH[2]}" -le "$width" ] &&
            [ "$console" = 0 ] || verdict=FAILED
        [ "$verdict" = ok ] || failed=1
        echo "$verdict  $width px: $found, $console lines on the console: $page"
        [ "$console" = 0 ] || grep 'CONSOLE' "$folder/log"
    done
done
exit "$failed"
