// What the page knows, in one place. Views read it; only the commands in app.js and partner.js write it.

export const state = {
  session: null, // as the server gave it
  photo: null, // the one on the table, as the server gave it; null when it cannot be read
  at: 0, // the step that is being made (== steps.length) or changed (< steps.length), or looked at
  draft: null, // the edit in hand, {filter, parameters}; not applied yet
  touched: false, // whether the draft was moved since it was taken in hand
  suggestion: null, // the agent's, as the server gave it
  looking: null, // a frame that is only looked at: 0, the beginning
  busy: false, // a command is under way
  gone: false, // the server cannot be reached
};

export const filterNamed = (name) => state.session.filters.find((filter) => filter.name === name);

export const steps = () => state.photo?.steps ?? [];

/** Whether an applied step is being changed, and which. */
export const changing = () => state.draft !== null && state.at < steps().length;

/** Whether there is a step to make. */
export const canStep = () => state.photo !== null && !state.photo.done && state.photo.steps_left > 0;

/** Names of the filters that were used before the step in hand. */
export const usedFilters = () => new Set(steps().filter((_, i) => i !== state.at).map((step) => step.edit.filter));

export const hasAgent = () => state.session?.agent.available ?? false;
