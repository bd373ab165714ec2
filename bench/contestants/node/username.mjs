/**
 * Usernames by RFC 8265.
 *
 * No maintained package implements RFC 8265. The only similar package, precis-js, implements
 * RFC 7564, which RFC 8264 replaced in 2017. So the rules here are regular expressions with
 * JavaScript's Unicode properties.
 */

import bidiFactory from "bidi-js";

import { Problem } from "./shared.mjs";

const MAX_CHARS = 80;

const bidi = bidiFactory();

const JAPANESE = String.raw`[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]`;

/**
 * Matches a character of the IdentifierClass (RFC 8264, sections 4.2, 8 and 9), with two
 * deviations. First, JavaScript has no Unicode property for compatibility characters. So this
 * expression matches them, and `hasDisallowed` rejects them. Second, JavaScript has no Unicode
 * property for the characters beside which the joiners U+200C and U+200D are allowed. So this
 * expression never matches a joiner.
 */
const ALLOWED = new RegExp(
  [
    // Before `--` are the characters that are allowed in any context: visible ASCII characters,
    // letters, digits, marks and four characters of section 9.6. After `--` are exceptions, which
    // are never allowed: the characters that section 9.6 forbids, conjoining jamo (9.9) and
    // invisible characters (9.13).
    String.raw`[[!-~\p{Lu}\p{Ll}\p{Lo}\p{Lm}\p{Nd}\p{Mn}\p{Mc}\u06FD\u06FE\u0F0B\u3007]--[` +
      String.raw`\u0640\u07FA\u302E\u302F\u3031-\u3035\u303B` +
      String.raw`\u1100-\u11FF\uA960-\uA97C\uD7B0-\uD7FB` +
      String.raw`\p{Default_Ignorable_Code_Point}]]`,
    // Allowed only in a certain context (RFC 5892, appendix A): the middle dot of Catalan, the
    // Greek numeral sign, geresh and gershayim, and the Katakana middle dot. The same appendix
    // forbids mixing the two kinds of Arabic digits. `breaksBidiRule` rejects such a mix.
    String.raw`(?<=l)\u00B7(?=l)`,
    String.raw`\u0375(?=\p{Script=Greek})`,
    String.raw`(?<=\p{Script=Hebrew})[\u05F3\u05F4]`,
    String.raw`(?<=${JAPANESE}.*)\u30FB`,
    String.raw`\u30FB(?=.*${JAPANESE})`,
  ].join("|"),
  "gsv",
);

/** Checks a username. Returns `display`, the form to show, and `key`, the form to compare. */
export function parse(text) {
  const display = toDisplay(text);
  const length = Array.from(display).length;
  if (length < 1 || length > MAX_CHARS) {
    throw new Problem(422, `A username has 1 to ${MAX_CHARS} characters`);
  }
  if (hasDisallowed(display) || breaksBidiRule(display)) {
    throw new Problem(422, "The username has a character that is not allowed");
  }
  return { display, key: display.toLowerCase().normalize("NFC") };
}

/** Replaces full-width and half-width characters with ordinary ones, and normalizes to NFC. */
function toDisplay(text) {
  const narrow = text.replace(/[\uFF01-\uFFEE]/g, (character) => character.normalize("NFKC"));
  return narrow.normalize("NFC");
}

function hasDisallowed(text) {
  const isCompatibility = (character) => character.normalize("NFKC") !== character;
  return text.replace(ALLOWED, "") !== "" || Array.from(text).some(isCompatibility);
}

/** Whether the text has right-to-left characters and breaks the Bidi Rule (RFC 5893, section 2). */
function breaksBidiRule(text) {
  if (/^[!-~]*$/.test(text)) {
    return false;
  }
  const classes = Array.from(text, (character) => bidi.getBidiCharTypeName(character));
  const has = (wanted) => classes.includes(wanted);
  if (!has("R") && !has("AL") && !has("AN")) {
    return false;
  }
  const allowed = ["R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"];
  const last = classes.findLast((it) => it !== "NSM");
  const keeps =
    ["R", "AL"].includes(classes[0]) &&
    classes.every((it) => allowed.includes(it)) &&
    ["R", "AL", "AN", "EN"].includes(last) &&
    !(has("EN") && has("AN"));
  return !keeps;
}
