#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --cpus-per-task=1
#SBATCH --dependency=afterany:7:8
#SBATCH --job-name=x.next
#SBATCH --mem=4096MB
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --open-mode=append
#SBATCH --output=/runs/x/logs/x.next/%j_0_log.out
#SBATCH --partition=cpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --signal=B:USR2@30
#SBATCH --time=60

# setup
module load cuda/12
export HF_HOME='/scratch/a b'

# command
export SUBMITIT_EXECUTOR=slurm
exec '/opt/my python/bin/python' -u -m submitit.core._submit /runs/x/logs/x.next
