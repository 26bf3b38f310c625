"use strict";
// The page's data, and how its values are written.

const DATA = JSON.parse(document.getElementById("data").textContent);
// Rows of emulated devices are in the tables only.
const RANKED = DATA.rows.filter((row) => !row.emulated);
// Words of what the models are compared by: accuracy, or what their task has in its place.
const MEASURE = DATA.measure;

const byId = (id) => document.getElementById(id);
const fixed = (value, digits, unit = "") => (value === null ? "–" : value.toFixed(digits) + unit);
const digits = (value, count, unit = "") => (value === null ? "–" : value.toLocaleString("en", { maximumSignificantDigits: count }) + unit);
const whole = (value) => value.toLocaleString("en");
const megabytes = (bytes) => (bytes === null ? null : bytes / 1e6);
const inPercent = (share) => (share === null ? null : share * 100);
const percent = (share, count = 1) => fixed(inPercent(share), count, " %");
const milliseconds = (value) => digits(value, 4, " ms");
const plural = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;
// Plotly reads a little HTML in its texts; names come from files.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const reach = (row) => (row.median_ms === null ? null : row.median_high_ms / row.median_ms - 1);

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
