// What every driver in JavaScript begins with: where the server is, and the scenes it is told of.
export const ROOT = process.env.RECORDER;
export const BASE_URL = `${ROOT}/v1`;
export const QUESTION = "What is my cat called?";
export const FOLLOW_UP = "And where does it sleep?";
export const WEATHER = "What is the weather in Paris?";
export const scene = async (name) => {
  await (await fetch(`${ROOT}/scene/${name}`)).text();
};
