// Many wishes, one at a time, and only the newest: what a slider needs.

/**
 * A function that may be called as often as a hand moves. One call of `work` is under way at most; of those asked for
 * meanwhile the newest follows and the others never happen, so there is no queue to lag behind.
 *
 * @param {(wish: any) => Promise<void>} work
 * @returns {{ask: (wish: any) => void, drop: () => void}}
 */
export function latest(work) {
  let waiting = null;
  let running = null;

  async function run() {
    while (waiting) {
      const { wish } = waiting;
      waiting = null;
      await work(wish);
    }
    running = null;
  }

  return {
    ask(wish) {
      waiting = { wish };
      running ??= run();
    },
    drop() {
      waiting = null;
    },
  };
}
