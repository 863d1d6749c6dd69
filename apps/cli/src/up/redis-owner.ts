/** Environment variable with the password of a shared Redis' owner: not an argument, which everybody could see. */
export const OWNER_PASSWORD = 'DROVER_REDIS_OWNER_PASSWORD'
