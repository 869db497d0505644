// Shows times in the reader's own zone; the time in UTC is what one sees on pointing at it.
"use strict";

const shown = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

function localize() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = shown.format(at);
    if (time.textContent === text) continue;
    time.title = `${time.dateTime.replace("T", " ").replace(/(:\d\d):\d\dZ/, "$1")} UTC`;
    time.textContent = text;
  }
}

localize();
document.addEventListener("htmx:afterSwap", localize);
