/** The parts of a player's page: who it is, the ratings, the matches, the achievements. */

import { byId } from './chrome.js';
import { el, flash, keyed, setAttr, setText, setVar } from './dom.js';
import { pageOf } from './facts.js';
import { icon, svg } from './icons.js';
import { OUTCOMES, figures, levelOf, scoreOf } from './player-model.js';
import { countryName, playerPage, showDelta, showDrift, trendBox } from './ranks.js';
import { badge, showBadge, tierAt, TIERS, towards } from './tiers.js';
import { count, title, when } from './words.js';

const RING = { size: 120, width: 7 };
const FORM = 10;

/** @type {any} */
let hero = null;

function buildHero() {
  const r = RING.size / 2 - RING.width / 2;
  const circle = (/** @type {string} */ name) => svg('circle', { class: name, cx: RING.size / 2, cy: RING.size / 2, r, 'stroke-width': RING.width, pathLength: 1 });
  const arc = circle('arc');
  const level = el('b');
  const ring = el('div', { class: 'ring', role: 'img' }, svg('svg', { viewBox: `0 0 ${RING.size} ${RING.size}`, 'aria-hidden': 'true' }, circle('track'), arc),
    el('span', { class: 'level' }, el('small', { text: 'Level' }), level));
  const parts = { ring, arc, level, name: el('h1'), country: el('span', { class: 'country' }), tier: badge(), xp: el('span'), form: el('ol', { class: 'form', 'aria-label': 'Last matches, newest last' }),
    note: el('p', { class: 'streak' }), facts: el('dl', { class: 'facts' }) };
  byId('hero').append(ring, el('div', { class: 'who' }, parts.name, el('p', { class: 'line' }, parts.tier, parts.country, parts.xp)),
    el('div', { class: 'shape' }, el('h2', { class: 'label', text: 'Form' }), parts.form, parts.note));
  return parts;
}

/** @param {any} card @param {any[]} form Outcomes, newest first. */
export function showHero(card, form) {
  hero ??= buildHero();
  const { level, part, missing } = levelOf(card.xp ?? 0);
  const shown = card.level ?? level;
  if (setText(hero.level, shown) && hero.known) flash(hero.level);
  setVar(hero.arc, '--part', String(part));
  setAttr(hero.ring, 'aria-label', `Level ${shown}, ${Math.round(part * 100)} % of the way to ${shown + 1}`);
  setText(hero.name, card.name ?? card.id);
  setAttr(hero.name, 'data-long', (card.name ?? card.id).length > 14 ? '' : null);
  hero.country.hidden = !card.country;
  setText(hero.country, countryName(card.country));
  const best = [...card.ratings].sort((x, y) => y.rating - x.rating)[0];
  hero.tier.hidden = best === undefined;
  if (best) { showBadge(hero.tier, best.tier); setAttr(byId('hero'), 'data-tier', best.tier.toLowerCase()); }
  setText(hero.xp, `${(card.xp ?? 0).toLocaleString('en-GB')} XP \u00b7 ${missing.toLocaleString('en-GB')} to level ${shown + 1}`);
  const pips = form.slice(0, FORM).map((outcome, i) => ({ outcome, key: String(form.length - i) })).reverse();
  hero.form.replaceChildren(...pips.map(({ outcome }) => el('li', { 'data-outcome': outcome, text: OUTCOMES[outcome]?.[0] ?? '\u2013', 'aria-label': OUTCOMES[outcome]?.[1] })));
  hero.form.hidden = form.length === 0;
  setText(hero.note, streakWords(form));
  hero.known = true;
}

/** @param {string[]} form Newest first. */
function streakWords(form) {
  if (form.length === 0) return 'No match has ended yet.';
  const decided = form.filter((outcome) => outcome !== 'none');
  const same = decided.findIndex((outcome) => outcome !== decided[0]);
  const n = same < 0 ? decided.length : same;
  const won = decided.filter((outcome) => outcome === 'win').length;
  if (n >= 3 && decided[0] === 'win') return `${n} wins in a row`;
  if (n >= 3 && decided[0] === 'loss') return `${n} losses in a row`;
  return `${won} of the last ${decided.length} won`;
}

/**
 * The games that somebody is rated in; one of them is chosen.
 * @param {any[]} ratings @param {string|null} chosen @param {(game: string) => void} choose
 * @param {(game: string) => string} nameOf
 */
export function showRatings(ratings, chosen, choose, nameOf) {
  keyed(byId('ratings'), ratings, {
    key: (each) => each.game,
    make: (each) => {
      const parts = { game: el('span', { class: 'game' }), tier: badge(), rating: el('b', { class: 'rating' }), drift: trendBox(), rank: el('span', { class: 'rank' }),
        record: el('span', { class: 'record' }), way: el('i', { class: 'way' }) };
      return Object.assign(el('button', { type: 'button', class: 'card', onclick: () => choose(each.game) }, el('span', { class: 'upper' }, parts.game, el('span', { class: 'stand' }, parts.drift, parts.rank)),
        el('span', { class: 'middle' }, parts.rating, el('span', { class: 'aside' }, parts.tier, parts.record)), parts.way), { parts });
    },
    show: (node, each) => {
      const { parts } = node;
      const tier = each.tier ?? TIERS[tierAt(each.rating)][0];
      setAttr(node, 'aria-pressed', String(each.game === chosen));
      setAttr(node, 'data-tier', tier.toLowerCase());
      setText(parts.game, nameOf(each.game));
      showDrift(parts.drift, each.trend ?? null);
      setText(parts.rank, each.rank ? `#${each.rank.toLocaleString('en-GB')}` : '');
      showBadge(parts.tier, tier);
      const before = node.rating;
      node.rating = each.rating;
      setText(parts.rating, each.rating.toLocaleString('en-GB'));
      if (before !== undefined && before !== each.rating) flash(parts.rating);
      setText(parts.record, `${count(each.won, 'win')} of ${each.rated}`);
      const { next, missing, part } = towards(each.rating);
      setVar(parts.way, '--part', String(part));
      node.title = next === null ? 'The highest tier' : `${missing} to ${next}; peak ${each.peak}`;
      setAttr(node, 'aria-label', `${nameOf(each.game)}: ${each.rating}, ${tier}${each.rank ? `, number ${each.rank}` : ''}`);
    },
  });
}

/** @param {any} life A game's lifetime, or undefined. */
export function showFigures(life) {
  const lines = life ? figures(life) : [];
  byId('figures-empty').hidden = lines.length > 0;
  keyed(byId('figures'), lines, {
    key: ([label]) => label,
    make: ([label]) => {
      const parts = { figure: el('dd'), note: el('small') };
      return Object.assign(el('div', {}, el('dt', { text: label }), parts.figure), { parts });
    },
    show: ({ parts }, [, figure, note]) => {
      setText(parts.note, note);
      if (parts.figure.firstChild?.data === figure) return;
      parts.figure.replaceChildren(figure, parts.note);
    },
  });
}

/** @param {any[]} lines Newest first. @param {string} id Whose. @param {(game: string) => string} nameOf */
export function showHistory(lines, id, nameOf) {
  byId('history-empty').hidden = lines.length > 0;
  keyed(byId('history'), lines, { key: (line) => line.match_id, make: makeLine, show: (node, line) => showLine(node, { ...line, subject_id: id }, nameOf) });
}

function makeLine() {
  const parts = { outcome: el('b', { class: 'outcome' }), pair: el('a', { class: 'pair' }), names: el('span', { class: 'names' }), note: el('span', { class: 'note' }),
    score: el('b', { class: 'score' }), delta: el('span', { class: 'delta' }), after: el('b', { class: 'after' }), day: el('span'), time: el('span') };
  parts.pair.append(parts.score);
  return Object.assign(el('li', {}, parts.outcome, el('span', { class: 'what' }, parts.names, parts.note), parts.pair,
    el('span', { class: 'change' }, parts.delta, parts.after), el('span', { class: 'when' }, parts.day, parts.time)), { parts });
}

/** @param {any} node @param {any} line @param {(game: string) => string} nameOf */
function showLine(node, line, nameOf) {
  const { parts } = node;
  const shown = `${nameOf(line.game)} ${line.rating_after} ${line.outcome}`;
  if (node.shown === shown) return;
  node.shown = shown;
  setAttr(node, 'data-outcome', line.outcome);
  setText(parts.outcome, OUTCOMES[line.outcome]?.[0] ?? '\u2013');
  setAttr(parts.outcome, 'aria-label', OUTCOMES[line.outcome]?.[1] ?? 'No result');
  const many = line.opponents.length > 2;
  parts.names.replaceChildren(el('i', { text: 'v' }), ...line.opponents.slice(0, many ? 1 : 2).flatMap((/** @type {any} */ each, /** @type {number} */ i) => [
    ...(i > 0 ? [', '] : [' ']), each.type === 'user' ? el('a', { href: playerPage(each.id), text: each.name }) : el('b', { text: each.name })]),
    ...(many ? [` and ${line.opponents.length - 1} more`] : []));
  const how = line.decided_by === 'play' ? '' : title(line.decided_by);
  setText(parts.note, [nameOf(line.game), line.map || line.mode, title(line.tournament_id), how].filter(Boolean).join(' \u00b7 '));
  setText(parts.score, scoreOf(line) || 'Match');
  setAttr(parts.pair, 'href', pageOf(line.match_id));
  setAttr(parts.pair, 'aria-label', `${OUTCOMES[line.outcome]?.[1] ?? ''} ${scoreOf(line)}, the match`);
  const rated = line.rating_after !== null && line.rating_after !== undefined;
  showDelta(parts.delta, rated ? line.rating_after - line.rating_before : null);
  setText(parts.after, rated ? line.rating_after.toLocaleString('en-GB') : '');
  parts.delta.title = rated ? '' : 'Not rated';
  const { time, day } = when(line.played_at, Date.now());
  setText(parts.day, day);
  setText(parts.time, time);
}

/** On a phone so many of those that are not earned are shown at first: the nearest. */
const NEAREST = 4;

byId('achievements-more').addEventListener('click', () => byId('achievements').classList.add('all'));

const RARITY = ['legendary', 'epic', 'rare', 'common'];

/** @param {any[]} all The catalogue with what is earned. */
export function showAchievements(all) {
  const earned = all.filter((each) => each.earned_at).sort((x, y) => RARITY.indexOf(x.rarity) - RARITY.indexOf(y.rarity)
    || Date.parse(y.earned_at) - Date.parse(x.earned_at));
  const part = (/** @type {any} */ each) => each.progress && each.progress.want > 0 ? each.progress.have / each.progress.want : 0;
  const open = all.filter((each) => !each.earned_at).sort((x, y) => part(y) - part(x));
  setText(byId('trophies-count'), all.length > 0 ? `${earned.length} of ${all.length}` : '');
  byId('achievements').classList.toggle('cut', open.length > NEAREST);
  const far = new Set(open.slice(NEAREST));
  keyed(byId('achievements'), [...earned, ...open], {
    key: (each) => each.code,
    make: (each) => {
      const parts = { note: el('span', { class: 'note' }), way: el('i', { class: 'way' }) };
      return Object.assign(el('li', { 'data-rarity': each.rarity }, el('span', { class: 'medal' }, icon(each.icon, each.category)),
        el('div', { class: 'words' }, el('b', { text: each.title }), el('p', { text: each.description }), parts.note), parts.way), { parts });
    },
    show: (node, each) => {
      const before = node.earned;
      node.earned = !!each.earned_at;
      node.classList.toggle('earned', node.earned);
      node.classList.toggle('far', far.has(each));
      const { have = 0, want = 0 } = each.progress ?? {};
      const number = (/** @type {number} */ n) => Math.floor(n).toLocaleString('en-GB');
      setText(node.parts.note, node.earned ? `${title(each.rarity)} \u00b7 ${when(each.earned_at, Date.now()).day}`
        : want > 1 ? `${title(each.rarity)} \u00b7 ${number(have)} of ${number(want)}` : title(each.rarity));
      setVar(node.parts.way, '--part', String(node.earned ? 1 : Math.min(1, part(each))));
      if (before === false && node.earned) flash(node, 'row');
    },
  });
}

