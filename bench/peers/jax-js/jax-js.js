export async function startJaxJs() {
  throw new Error('not yet');
}
