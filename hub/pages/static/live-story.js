/**
 * Turns a match room's events into lines of play by play. Pure: names come in, lines come out.
 *
 * @typedef {Object} Line
 * @property {string} key
 * @property {'kill'|'round'|'lead'|'game'|'start'|'result'|'score'|'note'} kind
 * @property {string} at                  Game clock or time of day.
 * @property {string} text                The whole line in words, for readers and for screen readers.
 * @property {string} [side]              Whose moment it is.
 * @property {{killer: string, killerSide: string, victim: string, victimSide: string, weapon: string,
 *   own: boolean, streak: number}} [kill]
 * @property {string} [score]
 * @property {boolean} [loud]             Worth saying aloud.
 *
 * @typedef {{side: string, name: string}} Who
 */

import { clock, timeOfDay, title } from './words.js';

/** Kills of one player closer together than this make a streak. */
const STREAK_MS = 4500;
const WEAPONS_OF_NATURE = new Set(['', 'none', 'suicide', 'world', 'trigger_hurt', 'falling']);

export class Story {
  constructor() {
    this.forget();
  }

  /** Begins anew: what was scored before is not known. */
  forget() {
    /** @type {Record<string, number>} */ this.scores = {};
    /** @type {string|null} */ this.leader = null;
    /** @type {any} */ this.gameId = null;
    /** @type {Map<string, {at: number, n: number}>} */ this.streaks = new Map();
  }

  /**
   * @param {any} event
   * @param {{player: (id: string) => Who, side: (id: string) => string,
   *        single: (id: string) => boolean, order: string[], rich: boolean}} names
   *        `rich`: the document has games; then the events tell the score, not `match.score_updated`.
   * @returns {Line[]} In the order in which they happened.
   */
  lines(event, names) {
    const data = typeof event.data === 'object' && event.data !== null ? event.data : {};
    if (data.game_id !== undefined && data.game_id !== this.gameId) {
      this.forget();
      this.gameId = data.game_id;
    }
    const at = Number.isFinite(data.t_ms) ? clock(data.t_ms) : timeOfDay(event.ts).slice(0, 5);
    const line = (/** @type {Partial<Line>} */ rest) => /** @type {Line} */ (
      { key: event.id ?? `${event.room}${event.offset}`, at, kind: 'note', text: '', ...rest });
    const made = this.#own(event.type, data, names, line);
    const lead = this.#lead(event, data, names);
    return lead === null ? made : [...made, line({ ...lead, key: `${event.id}-lead` })];
  }

  /**
   * @param {string} type @param {any} data @param {any} names
   * @param {(rest: Partial<Line>) => Line} line
   * @returns {Line[]}
   */
  #own(type, data, names, line) {
    const score = (/** @type {any} */ scores) => scoreText(scores, names.order);
    switch (type) {
      case 'live.kill': return [line(this.#kill(data, names))];
      case 'live.round_start': return [];
      case 'live.round_end': {
        const won = this.#gained(data.scores);
        const what = `Round${data.round ? ` ${data.round}` : ''}`;
        const text = won && names.order.length > 0 ? `${what} to ${names.side(won)}` : `${what} ends`;
        return [line({ kind: 'round', side: won ?? undefined, score: score(data.scores), text })];
      }
      case 'live.game_start': {
        const what = [data.mode, data.map].filter(Boolean).join(' · ');
        return [line({ kind: 'start', text: what ? `Game starts: ${what}` : 'Game starts' })];
      }
      case 'live.game_end': {
        const text = data.winner ? `Game to ${names.side(data.winner)}` : 'Game ends level';
        return [line({ kind: 'game', side: data.winner ?? undefined, score: score(data.scores), text, loud: true })];
      }
      case 'match.started': return [line({ kind: 'start', text: 'The match begins' })];
      case 'match.completed': {
        const text = data.winner_id ? `${does(names, data.winner_id, 'win')} the match`
          : data.outcome === 'draw' ? 'The match is a draw' : 'The match is over';
        return [line({ kind: 'result', side: data.winner_id ?? undefined, score: score(data.scores), text, loud: true })];
      }
      case 'match.forfeited': {
        const text = data.winner_id ? `${does(names, data.winner_id, 'win')} by forfeit` : 'The match is forfeited';
        return [line({ kind: 'result', side: data.winner_id, text, loud: true })];
      }
      case 'match.cancelled': return [line({ kind: 'result', text: 'The match is cancelled', loud: true })];
      case 'match.score_updated': {
        if (names.rich) return [];
        const gained = this.#gained(data.scores);
        if (!gained) return [];
        return [line({ kind: 'score', side: gained, score: score(data.scores), text: does(names, gained, 'score') })];
      }
      default: return this.#other(type, data, line);
    }
  }

  /** Types of servers that we do not know: shown if they bring words. @param {string} type @param {any} data @param {any} line */
  #other(type, data, line) {
    const words = [data.text, data.detail, data.message].find((each) => typeof each === 'string' && each !== '');
    if (!type.startsWith('live.') || words === undefined) return [];
    return [line({ kind: 'note', text: `${title(type.slice(5))}: ${words.slice(0, 200)}` })];
  }

  /** @param {any} data @param {any} names @returns {Partial<Line>} */
  #kill(data, names) {
    const [killer, victim] = [String(data.killer ?? ''), String(data.victim ?? '')];
    const [by, of] = [names.player(killer), names.player(victim)];
    const own = killer === victim || killer === '';
    const t = Number(data.t_ms);
    const last = this.streaks.get(killer);
    const streak = !own && last && t - last.at <= STREAK_MS && t >= last.at ? last.n + 1 : 1;
    if (!own && Number.isFinite(t)) this.streaks.set(killer, { at: t, n: streak });
    const given = String(data.weapon ?? '');
    const weapon = WEAPONS_OF_NATURE.has(given.toLowerCase()) ? '' : given;
    const text = own ? `${of.name} died` : `${by.name} killed ${of.name}${weapon ? `, ${weapon}` : ''}`;
    return { kind: 'kill', side: own ? of.side : by.side, text,
      kill: { killer: by.name, killerSide: by.side, victim: of.name, victimSide: of.side, weapon, own, streak } };
  }

  /** The one side whose score grew. @param {any} scores @returns {string|null} */
  #gained(scores) {
    if (typeof scores !== 'object' || scores === null) return null;
    const grown = Object.keys(scores).filter((id) => scores[id] > (this.scores[id] ?? 0));
    return grown.length === 1 ? grown[0] : null;
  }

  /** @param {any} event @param {any} data @param {any} names @returns {Partial<Line>|null} */
  #lead(event, data, names) {
    const inPatch = event.patch?.current?.scores;
    const told = event.type === 'match.score_updated' ? (names.rich ? null : data.scores)
      : event.type === 'live.round_end' ? data.scores : null;
    const scores = inPatch ?? told;
    if (typeof scores !== 'object' || scores === null) return null;
    this.scores = { ...this.scores, ...scores };
    const [first, second] = Object.entries(this.scores).sort(([, a], [, b]) => b - a);
    if (first === undefined || second === undefined || first[1] === second[1]) return null;
    const before = this.leader;
    this.leader = first[0];
    if (before === null || before === this.leader || event.type === 'live.game_end') return null;
    return { kind: 'lead', side: this.leader, text: `${does(names, this.leader, 'take')} the lead`,
      score: scoreText(this.scores, names.order), loud: true };
  }
}

/** Teams win, a person wins. @param {any} names @param {string} id @param {string} verb */
function does(names, id, verb) {
  return `${names.side(id)} ${verb}${names.single(id) ? 's' : ''}`;
}

/** @param {any} scores @param {string[]} order */
function scoreText(scores, order) {
  if (typeof scores !== 'object' || scores === null || order.length !== 2) return '';
  return order.map((id) => scores[id] ?? 0).join('\u2013');
}
