import { type ConfigDefinition, type Setting, defaultOf, envNames, flagName, isRequired, kindOf } from './setting.ts'

const placeholder = { list: ' A,B', boolean: '', other: ' VALUE' }

const defaultText = (setting: Setting): string => {
  if (isRequired(setting)) return 'required'
  const value = defaultOf(setting)
  if (value === undefined || value === null || value === '' || value === false || (Array.isArray(value) && value.length === 0)) return ''
  return `default ${typeof value === 'string' ? value : JSON.stringify(value)}`
}

/** The help text, made from the settings alone, so that it cannot say anything else than what is read. */
export const helpText = ({ section, settings }: ConfigDefinition, usage: string): string => {
  const rows = Object.entries(settings).map(([name, setting]) => {
    const onByDefault = kindOf(setting) === 'boolean' && defaultOf(setting) === true
    const flag = `--${onByDefault ? '[no-]' : ''}${flagName(name, setting)}${setting.bare === undefined ? placeholder[kindOf(setting)] : ' [VALUE]'}`
    const from = [...envNames(name, setting), `${setting.section ?? section}.${name}`].join(', ')
    return { flag, text: setting.describe, notes: [onByDefault ? 'on by default' : defaultText(setting), from].filter(Boolean).join('; ') }
  })
  rows.push(
    { flag: '--config PATH', text: 'YAML file with settings', notes: 'default ./drover.yaml where there is one; DROVER_CONFIG' },
    { flag: '--help', text: 'this text', notes: '' },
  )
  const width = Math.max(...rows.map(({ flag }) => flag.length)) + 2
  const margin = ' '.repeat(width + 4)
  const lines = rows.map(({ flag, text, notes }) => `  ${flag.padEnd(width)}${text}${notes && `\n${margin}[${notes}]`}`)
  return [`Usage: ${usage}`, '', 'A flag goes before the environment, the environment before the YAML file.', '', ...lines].join('\n')
}
