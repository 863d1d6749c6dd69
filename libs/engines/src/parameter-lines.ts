/** Parameters as Ollama's `/api/show` writes them (v0.33): a line for each, its name padded to 30 characters. */
export const parameterLines = (parameters: Readonly<Record<string, number | string>>): string =>
  Object.entries(parameters)
    .map(([name, value]) => `${name.padEnd(30)} ${typeof value === 'string' ? JSON.stringify(value) : value}`)
    .join('\n')
